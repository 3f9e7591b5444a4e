"""Read NRRD and MetaImage files: a text header followed by raw or compressed voxels."""

import math
import re
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np

from neoseg.capacity import free_memory
from neoseg.foreign import opened

ENDINGS = (".nrrd", ".mha")

MAX_HEADER_BYTES, MAX_BYTES = 2**20, 2**40

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
"""Signs that turn the axes of each NRRD space into those of NIfTI (RAS+)."""


@dataclass(frozen=True)
class TextHeader:
    """Content of a header: data type and shape of the voxels, the byte offset at which they begin,
    whether they are compressed, the affine to RAS+, None if the header has none, and the unit of
    its lengths.
    """

    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    begin: int
    packed: bool
    affine: np.ndarray | None
    unit: str = "mm"

    @property
    def size(self) -> int:
        """Uncompressed size of the voxels in bytes."""
        return math.prod(self.shape) * self.dtype.itemsize

    def image(self, voxels: np.ndarray) -> nib.Nifti1Image:
        """Return an image with these voxels and the affine of the header."""
        return nib.Nifti1Image(voxels, self.affine, dtype=voxels.dtype)

    def empty(self) -> nib.Nifti1Image:
        """Return an image of zeros on this grid that takes no memory."""
        return self.image(np.broadcast_to(np.zeros((), np.uint8), self.shape))


def read_header(path: Path) -> TextHeader:
    """Read the header only.

    Raises:
        ForeignError: the file cannot be read.
        ValueError: the header is invalid; the message says why.
    """
    with opened(path, MAX_BYTES) as stream:
        head = stream.read(MAX_HEADER_BYTES)
    try:
        return _parse_nrrd(head) if path.suffix.lower() == ".nrrd" else _parse_meta(head)
    except KeyError as error:
        raise ValueError(f"it lacks {error}") from None
    except (IndexError, OverflowError) as error:
        raise ValueError(f"{type(error).__name__} {error}") from None


def read_voxels(path: Path, header: TextHeader) -> np.ndarray:
    """Read the voxels `[X, Y, Z]` that a header announces.

    Raises:
        ForeignError: the file cannot be read.
        EOFError: it has fewer voxels than announced, or they do not fit into memory.
        ValueError, zlib.error: it has more voxels than announced, or damaged ones.
    """
    if header.size > free_memory():
        raise EOFError(f"{header.size} bytes are announced, more than this machine has free")
    with opened(path, MAX_BYTES) as stream:
        stream.seek(header.begin)
        # Packed ones are not longer than this; of others one byte too many tells enough.
        raw = stream.read(header.size + max(2**16, header.size >> 4) + 1)
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


def _parse_nrrd(head: bytes) -> TextHeader:
    end = re.search(rb"\r?\n\r?\n", head)
    if not head.startswith(b"NRRD000") or end is None:
        raise ValueError("it does not begin as NRRD does")
    lines = head[: end.start()].decode("utf-8", "replace").splitlines()[1:]
    tags = _parse_fields((line for line in lines if ":=" not in line), ":")
    _refuse_detached(tags, "data file", "datafile")
    if any(tags.get(key, "0") != "0" for key in ("line skip", "lineskip", "byte skip", "byteskip")):
        raise ValueError("it skips lines or bytes before its voxels")
    encoding = tags["encoding"].lower()
    if encoding not in ("raw", "gzip", "gz"):
        raise ValueError(f"its encoding is {encoding}, expected raw or gzip")
    shape = _parse_shape(tags["sizes"], tags["dimension"])
    affine = None
    signs = SPACES.get(tags.get("space", "").lower())
    vectors = re.findall(r"\(([^)]*)\)", tags.get("space directions", ""))
    if signs is not None and len(vectors) == 3:
        columns = [_three("space directions", vector.split(",")) for vector in vectors]
        origin = _three("space origin", tags["space origin"].strip("() ").split(","))
        affine = _make_affine(np.array(columns).T, origin, signs)
    dtype = _dtype(NRRD_TYPES[tags["type"].lower()], tags.get("endian", "little").lower() == "big")
    units = set(re.findall(r'"([^"]*)"', tags.get("space units", ""))) - {"", "???"}
    unit = ", ".join(sorted(units)) or "mm"
    return TextHeader(dtype, shape, end.end(), encoding != "raw", affine, unit)


def _parse_meta(head: bytes) -> TextHeader:
    end = re.search(rb"^\s*ElementDataFile\s*=\s*(.*?)\s*?\r?\n", head, re.MULTILINE)
    if end is None:
        raise ValueError("it does not begin as MetaImage does")
    tags = _parse_fields(head[: end.start()].decode("utf-8", "replace").splitlines(), "=")
    if end[1] != b"LOCAL":
        _refuse_detached({"elementdatafile": end[1].decode("utf-8", "replace")}, "elementdatafile")
    if tags.get("elementnumberofchannels", "1") != "1" or tags.get("headersize", "0") != "0":
        raise ValueError("it has several channels or a second header")
    if tags.get("binarydata", "true").lower() != "true":
        raise ValueError("its voxels are text, expected BinaryData = True")
    shape = _parse_shape(tags["dimsize"], tags["ndims"])
    affine = None

    def numbers(*keys: str) -> list[str]:
        return next((tags[key] for key in keys if key in tags), "").split()

    direction = numbers("transformmatrix", "rotation", "orientation")
    if direction and len(shape) == 3:
        sizes = _three("ElementSpacing", numbers("elementspacing", "elementsize"))
        rows = [_three("TransformMatrix", direction[start : start + 3]) for start in (0, 3, 6)]
        offset = _three("Offset", numbers("offset", "position", "origin"))
        affine = _make_affine(np.array(rows).T * sizes, offset, SPACES["lps"])
    order = tags.get("binarydatabyteordermsb", tags.get("elementbyteordermsb", "false"))
    dtype = _dtype(META_TYPES[tags["elementtype"].removeprefix("MET_")], order.lower() == "true")
    compressed = tags.get("compresseddata", "").lower() == "true"
    return TextHeader(dtype, shape, end.end(), compressed, affine)


def _three(name: str, texts: Sequence[str]) -> list[float]:
    """Return three finite numbers; raises `ValueError`, naming the field that lacks them."""
    numbers = [float(text) for text in texts]
    if len(numbers) != 3 or not all(map(math.isfinite, numbers)):
        found = ", ".join(texts) or "none"
        raise ValueError(f"expected three finite numbers as '{name}', found {found}")
    return numbers


def _parse_fields(lines: Any, separator: str) -> dict[str, str]:
    """Parse lines `key separator value`; keys become lower case, comments are skipped."""
    parts = (line.partition(separator) for line in lines if not line.startswith("#"))
    return {
        key.strip().lower(): value.strip() for key, has_separator, value in parts if has_separator
    }


def _refuse_detached(tags: Mapping[str, str], *keys: str) -> None:
    """Refuse a header whose voxels are in another file, which an untrusted header could choose."""
    for name in (tags[key] for key in keys if key in tags):
        raise ValueError(f"its voxels are in {name!r}; save header and voxels as one file")


def _parse_shape(text: str, number: str) -> tuple[int, ...]:
    lengths = tuple(int(length) for length in text.split())
    if len(lengths) != int(number) or not 1 <= len(lengths) <= 7 or min(lengths) < 0:
        raise ValueError(f"its shape is {text!r} in {number!r} dimensions")
    return lengths


def _dtype(code: str, big: bool) -> np.dtype[Any]:
    return np.dtype(f"{'>' if big else '<'}{code}")


def _make_affine(columns: np.ndarray, origin: Any, signs: tuple[int, int, int]) -> np.ndarray:
    affine = np.eye(4)
    affine[:3, :3], affine[:3, 3] = columns, origin
    affine[:3] *= np.array(signs)[:, None]
    return affine
