"""NRRD and MetaImage: a header of text, and behind it the voxels, plain or packed."""

from __future__ import annotations

import math
import re
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np

from neoseg.capacity import free_memory
from neoseg.foreign import opened

ENDINGS = (".nrrd", ".mha")

LONGEST_HEADER, LARGEST = 2**20, 2**40

NRRD_TYPES = {
    name: code
    for names, code in (
        ("signed char/int8/int8_t", "i1"),
        ("uchar/unsigned char/uint8/uint8_t", "u1"),
        ("short/short int/signed short/signed short int/int16/int16_t", "i2"),
        ("ushort/unsigned short/unsigned short int/uint16/uint16_t", "u2"),
        ("int/signed int/int32/int32_t", "i4"),
        ("uint/unsigned int/uint32/uint32_t", "u4"),
        ("longlong/long long/long long int/signed long long/int64/int64_t", "i8"),
        ("ulonglong/unsigned long long/unsigned long long int/uint64/uint64_t", "u8"),
        ("float", "f4"),
        ("double", "f8"),
    )
    for name in names.split("/")
}
META_TYPES = {"CHAR": "i1", "UCHAR": "u1", "SHORT": "i2", "USHORT": "u2", "INT": "i4"} | {
    "UINT": "u4",
    "LONG_LONG": "i8",
    "ULONG_LONG": "u8",
    "FLOAT": "f4",
    "DOUBLE": "f8",
}
SPACES = {"right-anterior-superior": (1, 1, 1), "ras": (1, 1, 1)} | {
    "left-anterior-superior": (-1, 1, 1),
    "las": (-1, 1, 1),
    "left-posterior-superior": (-1, -1, 1),
    "lps": (-1, -1, 1),
}
"""What turns the axes of each space of NRRD into those of NIfTI."""


@dataclass(frozen=True)
class TextHeader:
    """What a header says: type and shape of the voxels, the byte at which they begin, whether they
    are packed, and the affine to RAS+, None where it does not tell.
    """

    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    begin: int
    packed: bool
    affine: np.ndarray | None

    @property
    def size(self) -> int:
        """Bytes of the voxels."""
        return math.prod(self.shape) * self.dtype.itemsize

    def image(self, voxels: np.ndarray) -> nib.Nifti1Image:
        """Return voxels in the header's place."""
        return nib.Nifti1Image(voxels, self.affine, dtype=voxels.dtype)

    def empty(self) -> nib.Nifti1Image:
        """Return an image of this grid that holds nothing, and takes no memory."""
        return self.image(np.broadcast_to(np.zeros((), np.uint8), self.shape))


def read_header(path: Path) -> TextHeader:
    """Read the header alone.

    Raises:
        ForeignError: a file that cannot be read.
        ValueError: what is wrong with the header.
    """
    with opened(path, LARGEST) as stream:
        head = stream.read(LONGEST_HEADER)
    try:
        return _of_nrrd(head) if path.suffix.lower() == ".nrrd" else _of_meta(head)
    except (KeyError, IndexError, OverflowError) as error:
        raise ValueError(f"{type(error).__name__} {error}") from None


def read_voxels(path: Path, header: TextHeader) -> np.ndarray:
    """Return the voxels `[X, Y, Z]` that a header announces.

    Raises:
        ForeignError: a file that cannot be read.
        EOFError: fewer of them than are announced.
        ValueError, zlib.error: more of them, or damaged ones.
    """
    if header.size > free_memory():
        raise EOFError(f"{header.size} bytes are announced, more than this machine has free")
    with opened(path, LARGEST) as stream:
        stream.seek(header.begin)
        # Packed ones are not longer than this; of others one byte too many tells enough.
        raw = stream.read(header.size + max(2**16, header.size >> 8) + 1)
    if header.packed:
        unpacker = zlib.decompressobj(zlib.MAX_WBITS | 32)
        unpacked = unpacker.decompress(raw, header.size + 1)
        if len(unpacked) <= header.size and not unpacker.eof:
            raise EOFError(f"{header.size} bytes are announced, {len(unpacked)} could be unpacked")
        raw = unpacked + unpacker.unused_data
    if len(raw) < header.size:
        raise EOFError(f"its header announces {header.size} bytes, {len(raw)} are there")
    if len(raw) > header.size:
        raise ValueError(f"it holds more than the {header.size} bytes that its header announces")
    return np.frombuffer(raw, header.dtype).reshape(header.shape, order="F")


def _of_nrrd(head: bytes) -> TextHeader:
    end = re.search(rb"\r?\n\r?\n", head)
    if not head.startswith(b"NRRD000") or end is None:
        raise ValueError("it does not begin as NRRD does")
    lines = head[: end.start()].decode("utf-8", "replace").splitlines()[1:]
    told = _pairs((line for line in lines if ":=" not in line), ":")
    _refuse(told, "data file", "datafile")
    if any(told.get(key, "0") != "0" for key in ("line skip", "lineskip", "byte skip", "byteskip")):
        raise ValueError("it skips lines or bytes before its voxels")
    packing = told["encoding"].lower()
    if packing not in ("raw", "gzip", "gz"):
        raise ValueError(f"its encoding is {packing}, expected raw or gzip")
    shape = _lengths(told["sizes"], told["dimension"])
    affine = None
    turn = SPACES.get(told.get("space", "").lower())
    vectors = re.findall(r"\(([^)]*)\)", told.get("space directions", ""))
    if turn is not None and len(vectors) == 3:
        columns = [[float(n) for n in vector.split(",")] for vector in vectors]
        start = [float(n) for n in told["space origin"].strip("() ").split(",")]
        affine = _affine(np.array(columns).T, start, turn)
    kind = _dtype(NRRD_TYPES[told["type"].lower()], told.get("endian", "little").lower() == "big")
    return TextHeader(kind, shape, end.end(), packing != "raw", affine)


def _of_meta(head: bytes) -> TextHeader:
    end = re.search(rb"^\s*ElementDataFile\s*=\s*(.*?)\s*?\r?\n", head, re.MULTILINE)
    if end is None:
        raise ValueError("it does not begin as MetaImage does")
    told = _pairs(head[: end.start()].decode("utf-8", "replace").splitlines(), "=")
    if end[1] != b"LOCAL":
        _refuse({"elementdatafile": end[1].decode("utf-8", "replace")}, "elementdatafile")
    if told.get("elementnumberofchannels", "1") != "1" or told.get("headersize", "0") != "0":
        raise ValueError("it has several channels or a second header")
    if told.get("binarydata", "true").lower() != "true":
        raise ValueError("its voxels are text, expected BinaryData = True")
    shape = _lengths(told["dimsize"], told["ndims"])
    affine = None

    def numbers(*keys: str) -> np.ndarray:
        return np.array(next((told[key] for key in keys if key in told), "").split(), dtype=float)

    turned = numbers("transformmatrix", "rotation", "orientation")
    if turned.size and len(shape) == 3:
        columns = turned.reshape(3, 3).T * numbers("elementspacing", "elementsize")
        affine = _affine(columns, numbers("offset", "position", "origin"), SPACES["lps"])
    order = told.get("binarydatabyteordermsb", told.get("elementbyteordermsb", "false"))
    kind = _dtype(META_TYPES[told["elementtype"].removeprefix("MET_")], order.lower() == "true")
    packed = told.get("compresseddata", "").lower() == "true"
    return TextHeader(kind, shape, end.end(), packed, affine)


def _pairs(lines: Any, mark: str) -> dict[str, str]:
    """Return what lines `key mark value` say, keys in lower case; comments are left out."""
    parts = (line.partition(mark) for line in lines if not line.startswith("#"))
    return {key.strip().lower(): value.strip() for key, found, value in parts if found}


def _refuse(told: Mapping[str, str], *keys: str) -> None:
    """Refuse a header whose voxels are in another file, which a stranger could choose."""
    for name in (told[key] for key in keys if key in told):
        raise ValueError(f"its voxels are in {name!r}; save header and voxels as one file")


def _lengths(text: str, number: str) -> tuple[int, ...]:
    lengths = tuple(int(length) for length in text.split())
    if len(lengths) != int(number) or not 1 <= len(lengths) <= 7 or min(lengths) < 0:
        raise ValueError(f"its shape is {text!r} in {number!r} dimensions")
    return lengths


def _dtype(code: str, big: bool) -> np.dtype[Any]:
    return np.dtype(f"{'>' if big else '<'}{code}")


def _affine(columns: np.ndarray, start: Any, turn: tuple[int, int, int]) -> np.ndarray:
    affine = np.eye(4)
    affine[:3, :3], affine[:3, 3] = columns, start
    affine[:3] *= np.array(turn)[:, None]
    return affine
