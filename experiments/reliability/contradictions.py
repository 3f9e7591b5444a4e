"""What a NIfTI file says twice, read from its bytes alone: no nibabel, and nothing of neoseg.

A header that was damaged into another one that nothing in the file contradicts is another file,
and no reader can tell. Any other must be told of.
"""

from __future__ import annotations

import gzip
import struct
import zlib

import numpy as np

BITS = {2: 8, 4: 16, 8: 32, 16: 32, 64: 64, 256: 8, 512: 16, 768: 32, 1024: 64, 1280: 64}
SHIFT, STRETCH = 0.11, 0.011
"""Voxels and shares that are of no consequence."""


def contradiction(content: bytes) -> str:
    """Return what in a file contradicts the rest of it, or ""."""
    if content[:2] == b"\x1f\x8b":
        try:
            content = gzip.decompress(content)
        except (OSError, EOFError, zlib.error):
            return "compression"
    # By the magic word: the length of the header, which comes first, may be damaged.
    if content[344:347] in (b"n+1", b"ni1"):
        places = {"dim": (40, "8h"), "type": (70, "2h"), "pixdim": (76, "8f"), "offset": (108, "f")}
        places |= {"units": (123, "B"), "codes": (252, "2h"), "quaternion": (256, "6f")}
        places |= {"sform": (280, "12f")}
    else:
        places = {"type": (12, "2h"), "dim": (16, "8q"), "pixdim": (104, "8d")}
        places |= {"offset": (168, "q"), "units": (500, "i"), "codes": (344, "2i")}
        places |= {"quaternion": (352, "6d"), "sform": (400, "12d")}
    at, form = places["dim"]
    order = "<" if 0 < struct.unpack_from("<" + form[1:], content, at)[0] < 8 else ">"
    field = {
        key: struct.unpack_from(order + form, content, at) for key, (at, form) in places.items()
    }
    count, *lengths = field["dim"]
    shape = lengths[:count]
    kind, bits = field["type"]
    if BITS.get(kind) != bits:
        return "bitpix"
    behind = content[int(field["offset"][0]) + int(np.prod(shape)) * bits // 8 :]
    plane = int(np.prod(shape[:2])) * bits // 8
    if behind and (any(behind) or len(behind) >= plane):
        return "length"
    if field["units"][0] & 7 not in (0, 2):
        return "units"
    qcode, scode = field["codes"]
    sform = np.array([*field["sform"], 0, 0, 0, 1], np.float64).reshape(4, 4)
    sizes = np.linalg.norm(sform[:3, :3], axis=0)
    pixdim = np.abs(field["pixdim"][1:4])
    if scode and not np.allclose(pixdim, sizes, rtol=STRETCH, atol=0):
        return "voxel sizes"
    if scode and qcode and apart(sform, qform(field), shape) > SHIFT:
        return "qform"
    return ""


def qform(field: dict[str, tuple[float, ...]]) -> np.ndarray:
    """Return the matrix of a quaternion, offsets and voxel sizes."""
    b, c, d, *offset = field["quaternion"]
    a = np.sqrt(max(0.0, 1 - b * b - c * c - d * d))
    turn = [
        [a * a + b * b - c * c - d * d, 2 * (b * c - a * d), 2 * (b * d + a * c)],
        [2 * (b * c + a * d), a * a + c * c - b * b - d * d, 2 * (c * d - a * b)],
        [2 * (b * d - a * c), 2 * (c * d + a * b), a * a + d * d - b * b - c * c],
    ]
    matrix = np.eye(4)
    first, *sizes = field["pixdim"][:4]
    matrix[:3, :3] = np.array(turn) * [sizes[0], sizes[1], sizes[2] * (-1 if first < 0 else 1)]
    matrix[:3, 3] = offset
    return matrix


def apart(one: np.ndarray, other: np.ndarray, shape: tuple[int, ...]) -> float:
    """Return how far two affines place a corner of an image apart, in voxels of the first."""
    ends = np.array(np.meshgrid(*[(0, max(0, n - 1)) for n in (*shape, 1, 1, 1)[:3]], [1]))
    gaps = ((one - other) @ ends.reshape(4, -1))[:3]
    return float(np.linalg.norm(gaps, axis=0).max() / np.linalg.norm(one[:3, :3], axis=0).min())
