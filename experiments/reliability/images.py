"""Damage done to NIfTI files, by a seed: what files of research data suffer, and more."""

from __future__ import annotations

import gzip
import io
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np

Rng = np.random.Generator
SHAPE = (9, 11, 7)
LABELS = (0, 1, 2, 3)
DTYPES = (np.uint8, np.int16, np.int32, np.uint16, np.float32, np.float64, np.int8, np.uint32)

ODD_FLOATS = (np.nan, np.inf, -np.inf, 0.0, -0.0, -1.0, 1e-45, 1e-30, 1e30, 3.4e38, 0.5, 1.0, 2.0)
ODD_SHORTS = (-32768, -1, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 11, 64, 255, 1024, 30000, 32767)
CODES = (0, 1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 768, 1024, 1280, 1536, 1792, 2048, 2304, 99, -4)


def sound(rng: Rng, is_label: bool) -> bytes:
    """Return the bytes of a small file as they should be."""
    grid = np.stack(np.meshgrid(*[np.linspace(-1, 1, n) for n in SHAPE], indexing="ij"))
    radius = np.sqrt((grid**2).sum(0))
    labels = np.select([radius < 0.4, radius < 0.7, radius < 1.0], [3, 2, 1], 0)
    dtype = DTYPES[int(rng.integers(len(DTYPES)))]
    array = labels if is_label else labels * 30 + rng.integers(0, 9, SHAPE)
    affine = np.diag([*rng.choice([-1.0, 1.0], 3) * [0.8, 1.0, 1.2], 1.0])
    affine[:3] = affine[rng.permutation(3)]
    affine[:3, 3] = (3.0, -20.0, 7.0)
    single = nib.Nifti2Image if rng.random() < 0.15 else nib.Nifti1Image
    header = single.header_class(endianness=">" if rng.random() < 0.2 else "<")
    image = single(array.astype(dtype), affine, header)
    image.set_data_dtype(dtype)
    if rng.random() < 0.5:  # as scanners write it, and converters
        image.set_qform(affine, 1)
    content: bytes = image.to_bytes()
    return content


def put(content: bytes, at: int, form: str, *values: float) -> bytes:
    """Overwrite a field of the header, in the byte order of the file."""
    order = "<" if content[:4] in (b"\x5c\x01\0\0", b"\x1c\x02\0\0") else ">"
    field = struct.pack(order + form, *values)
    return content[:at] + field + content[at + len(field) :]


def flipped(rng: Rng, content: bytes, low: int, high: int) -> bytes:
    """Change one to eight bytes between two places."""
    changed = bytearray(content)
    for place in rng.integers(low, max(low + 1, min(high, len(content))), rng.integers(1, 9)):
        changed[int(place)] ^= int(rng.integers(1, 256))
    return bytes(changed)


def shorts(rng: Rng, count: int) -> list[int]:
    return [int(value) for value in rng.choice(ODD_SHORTS, count)]


def floats(rng: Rng, count: int) -> list[float]:
    return [float(value) for value in rng.choice(ODD_FLOATS, count)]


def header_bytes(rng: Rng, content: bytes) -> bytes:
    return flipped(rng, content, 0, 352)


def dimensions(rng: Rng, content: bytes) -> bytes:
    first, count = int(rng.integers(0, 8)), int(rng.integers(1, 4))
    return put(content, 40 + 2 * first, f"{count}h", *shorts(rng, count))


def giant(rng: Rng, content: bytes) -> bytes:
    """Ask for up to 4e22 bytes of memory."""
    count = int(rng.integers(2, 8))
    return put(content, 40, f"{count + 1}h", count, *[32767] * count)


def datatype(rng: Rng, content: bytes) -> bytes:
    bits = int(rng.choice([0, 1, 8, 16, 24, 32, 64, 128, 256, -8]))
    code = int(rng.choice(CODES))
    return put(content, 70, "2h", code, bits) if rng.random() < 0.7 else put(content, 70, "h", code)


def scaling(rng: Rng, content: bytes) -> bytes:
    return put(content, 112, "2f", *floats(rng, 2))


def data_offset(rng: Rng, content: bytes) -> bytes:
    offset = float(rng.choice([0, 1, 351, 353, 348, 360, 1e9, -352, np.nan, np.inf, 1e30]))
    return put(content, 108, "f", offset)


def voxel_sizes(rng: Rng, content: bytes) -> bytes:
    return put(content, 76, "4f", *floats(rng, 4))


def affine(rng: Rng, content: bytes) -> bytes:
    count = int(rng.integers(1, 13))
    return put(
        content, 280 + 4 * int(rng.integers(0, 13 - count)), f"{count}f", *floats(rng, count)
    )


def quaternion(rng: Rng, content: bytes) -> bytes:
    content = put(content, 252, "2h", int(rng.integers(-2, 7)), int(rng.integers(-2, 3)))
    return put(content, 256, "6f", *floats(rng, 6))


def magic(rng: Rng, content: bytes) -> bytes:
    words = (b"ni1\0", b"n+2\0", b"\0\0\0\0", b"nii\0", b"n+1 ", b"ni2\0")
    word = words[int(rng.integers(len(words)))]
    return content[:344] + word + content[348:]


def header_size(rng: Rng, content: bytes) -> bytes:
    return put(content, 0, "i", int(rng.choice([0, 1, 347, 348, 349, 540, -348, 2**31 - 1])))


def extension(rng: Rng, content: bytes) -> bytes:
    """Announce an extension whose size is anything."""
    size = int(rng.choice([0, -16, 8, 16, 17, 2**31 - 1, 4096]))
    junk = struct.pack("<2i", size, int(rng.integers(-5, 60))) + rng.bytes(24)
    return content[:348] + b"\x01\0\0\0" + junk + content[352 if rng.random() < 0.5 else 384 :]


def shorter(rng: Rng, content: bytes) -> bytes:
    return content[: int(rng.integers(0, len(content)))]


def longer(rng: Rng, content: bytes) -> bytes:
    return content + rng.bytes(int(rng.integers(1, 400)))


def voxel_bytes(rng: Rng, content: bytes) -> bytes:
    return flipped(rng, content, 352, len(content))


def odd_voxels(rng: Rng, content: bytes) -> bytes:
    """Write NaN, infinite and huge numbers as float32 or float64 voxels."""
    single = nib.Nifti1Image if content[:4] in SMALL else nib.Nifti2Image
    try:
        image = single.from_bytes(content)
        array = np.array(image.dataobj)
    except Exception:  # damaged before
        return voxel_bytes(rng, content)
    if not 0 < array.size < 10**6 or array.dtype.kind not in "fiu":
        return voxel_bytes(rng, content)
    array = np.array(array, dtype=[np.float32, np.float64][int(rng.integers(2))])
    places = rng.integers(0, array.size, int(rng.integers(1, 5)))
    array.ravel()[places] = rng.choice([np.nan, np.inf, -np.inf, 1e30, 0.25, -7.0], places.size)
    sizes = np.diag([0.8, 1.0, 1.2, 1.0])  # that of the file may be damaged already
    made: bytes = nib.Nifti1Image(array, sizes).to_bytes()
    return made


def other_shape(rng: Rng, content: bytes) -> bytes:
    """Two, four or five axes, axes of length one, no voxels at all, or one value everywhere."""
    shapes = ((5, 6), (5, 6, 7, 2), (5, 6, 7, 1), (5, 6, 7, 1, 2), (1, 6, 7), (1, 1, 1), (40,))
    shape = shapes[int(rng.integers(len(shapes)))]
    array = rng.integers(0, 4, shape).astype(np.int16) * int(rng.integers(0, 2))
    made: bytes = nib.Nifti1Image(array, np.diag([1.0, 1, 1, 1])).to_bytes()
    return made


def another_format(rng: Rng, content: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("a.nii", content)
    others = (b"", b"\0" * 400, b"participant_id\tsex\n", b"\x89PNG\r\n\x1a\n" + content)
    others += (buffer.getvalue(), b"<html>404</html>" * 40, rng.bytes(600), b"\x1f\x8b")
    return others[int(rng.integers(len(others)))]


SMALL = (b"\x5c\x01\0\0", b"\0\0\x01\x5c")
"""First bytes of NIfTI-1."""

OF_CONTENT: tuple[Callable[[Rng, bytes], bytes], ...] = (
    *(header_bytes, dimensions, giant, datatype, scaling, data_offset, voxel_sizes, affine),
    *(quaternion, magic, header_size, extension, shorter, longer, voxel_bytes, odd_voxels),
    *(other_shape, another_format),
)


def packed_bytes(rng: Rng, content: bytes) -> bytes:
    return flipped(rng, content, 0, len(content))


def two_members(rng: Rng, content: bytes) -> bytes:
    return content + (content if rng.random() < 0.5 else gzip.compress(rng.bytes(50)))


def packed_twice(rng: Rng, content: bytes) -> bytes:
    return gzip.compress(content)


def not_packed(rng: Rng, content: bytes) -> bytes:
    return gzip.decompress(content)


OF_PACKED: tuple[Callable[[Rng, bytes], bytes], ...] = (
    *(packed_bytes, shorter, longer, two_members, packed_twice, not_packed),
)


def damaged(rng: Rng, folder: Path, name: str, is_label: bool) -> tuple[Path, str, bytes]:
    """Write a damaged file; return its path, the kinds of damage, and what it was, not packed."""
    packed = bool(rng.random() < 0.5)
    content = whole = sound(rng, is_label)
    kinds = []
    for _ in range(1 + int(rng.random() < 0.25)):  # sometimes one damage on the other
        change = OF_CONTENT[int(rng.integers(len(OF_CONTENT)))]
        if len(content) > 352:
            content = change(rng, content)
            kinds.append(change.__name__)
    if packed:
        content = gzip.compress(content, 1, mtime=0)
        if rng.random() < 0.3:
            change = OF_PACKED[int(rng.integers(len(OF_PACKED)))]
            content = change(rng, content)
            kinds.append(change.__name__)
    path = folder / f"{name}{'.nii.gz' if packed or rng.random() < 0.05 else '.nii'}"
    path.write_bytes(content)
    return path, "+".join(kinds), whole
