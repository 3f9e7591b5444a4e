"""Load complete volumes, and tell how a broken file is broken."""

import gzip
import io
import math
import zlib
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from nibabel.filebasedimages import ImageFileError
from nibabel.freesurfer.mghformat import MGHError
from nibabel.spatialimages import HeaderDataError
from nibabel.wrapstruct import WrapStructError

from neoseg.capacity import free_memory
from neoseg.files import halves_of
from neoseg.findings.problems import Problem
from neoseg.foreign import ForeignError
from neoseg.store import text_headed
from neoseg.store.damage import broken, damaged
from neoseg.store.headers import check_header, check_mgh_header, check_nrrd_unit

IMAGE_CLASSES: dict[int, Any] = {348: nib.Nifti1Image, 540: nib.Nifti2Image, 1: nib.MGHImage}
"""Image class by the integer in the first four bytes: header size (NIfTI) or version (MGH)."""

HEADER_ERRORS = (
    OSError,
    ValueError,
    TypeError,
    KeyError,
    OverflowError,
    AttributeError,
    ImageFileError,
    HeaderDataError,
    WrapStructError,
    MGHError,
    ForeignError,
)
"""Exceptions that reading an invalid header can raise."""

HEADER_BYTES, SLACK_BYTES, PIECE_BYTES = 540, 2**20, 2**24
"""In bytes: longest header, most data after the voxels, and piece decompressed at a time."""


class UnorientedError(ImageFileError):
    """A whole file of a format that has no orientation, such as Analyze 7.5."""


def open_image(path: Path) -> Any:
    """Return a nibabel image, reading the header only.

    Raises:
        One of `HEADER_ERRORS`.
    """
    if path.suffix.lower() in text_headed.ENDINGS:
        return text_headed.read_header(path).empty()
    image: Any = nib.load(path)
    if not isinstance(image, nib.Nifti1Pair | nib.MGHImage):
        raise UnorientedError(f"it is {type(image).__name__}, which does not tell left from right")
    return image


def load_image(path: Path) -> tuple[Any, np.ndarray, list[Problem]]:
    """Return the image, its voxels with the header's scaling applied, and header contradictions.

    A compressed file is decompressed once, up to its end, so that its checksum is verified.

    Raises:
        DataError: missing, unreadable, empty, truncated or damaged files, and other formats.
    """
    header, voxel_file = halves_of(path)
    for file in dict.fromkeys((path, header, voxel_file)):
        if not file.is_file():
            raise damaged(
                file, "does not exist", "missing-file", "correct the path or the cohort's root"
            )
    try:
        size = voxel_file.stat().st_size
        if size == 0:
            raise broken(path, size, "it is empty", "empty-file")
        if path.suffix.lower() in text_headed.ENDINGS:
            return _load_text_headed(path, size)
        raw = _unpack(path, size) if path.suffix.lower() in (".gz", ".mgz") else None
    except OSError as error:
        raise damaged(
            path,
            f"cannot be read ({error.strerror or error})",
            "unreadable-file",
            "check its permissions and the disk",
        ) from None
    try:
        image: Any = open_image(path) if raw is None else _from_bytes(raw)
        announced, available = _end_of_voxels(image), size if raw is None else len(raw)
    except UnorientedError as error:
        action = "convert its source, such as the DICOM files, to NIfTI"
        raise damaged(path, f"cannot be used: {error}", "not-nifti", action) from None
    except HEADER_ERRORS as error:
        raise broken(path, size, f"no valid header ({error})", "not-nifti") from None
    if announced > available:
        # Checked before memory of that size is allocated.
        why = f"its header announces {announced} bytes, {available} are there"
        raise broken(path, size, why, "truncated-file")
    try:
        voxels = np.asanyarray(image.dataobj)
        with header.open("rb") if raw is None else io.BytesIO(raw) as stream:
            head = stream.read(HEADER_BYTES)
        with voxel_file.open("rb") if raw is None else io.BytesIO(raw) as stream:
            stream.seek(announced)
            trailing = stream.read(SLACK_BYTES)
    except (OSError, ValueError, EOFError, MemoryError, OverflowError) as error:
        raise broken(path, size, f"it ends too early ({error})", "truncated-file") from None
    if isinstance(image, nib.MGHImage):
        return image, voxels, check_mgh_header(path, head)  # the voxels may be followed by tags
    return image, voxels, check_header(path, image, head, trailing, available - announced)


def _load_text_headed(path: Path, size: int) -> tuple[Any, np.ndarray, list[Problem]]:
    try:
        header = text_headed.read_header(path)
        image = header.empty()
    except HEADER_ERRORS as error:
        raise broken(path, size, f"no valid header ({error})", "not-nifti") from None
    try:
        voxels = text_headed.read_voxels(path, header)
    except (EOFError, MemoryError) as error:
        raise broken(path, size, str(error), "truncated-file") from None
    except (ValueError, zlib.error) as error:
        kind = "damaged-gzip" if isinstance(error, zlib.error) else "trailing-bytes"
        raise broken(path, size, str(error), kind) from None
    return image, voxels, check_nrrd_unit(path, header.unit, image.affine)


def _end_of_voxels(image: Any) -> int:
    """Return the end of the voxels, in bytes from the start of the uncompressed file.

    Raises:
        ValueError: impossible shape or offset.
    """
    shape = [int(length) for length in image.shape]
    if min(shape, default=0) < 0:
        raise ValueError(f"its shape is {tuple(shape)}")
    offset = float(image.dataobj.offset)
    if not 0 <= offset < 2**62:
        raise ValueError(f"its voxels begin at byte {offset:g}")
    return int(offset) + math.prod(shape) * int(image.get_data_dtype().itemsize)


def _unpack(path: Path, size: int) -> bytes:
    """Decompress a file, and fail if it holds much more than its header announces."""
    with path.open("rb") as packed:
        is_gzip = packed.read(2) == b"\x1f\x8b"
        packed.seek(0)
        try:
            with gzip.open(packed) as stream:
                head = stream.read(HEADER_BYTES)
                announced = _announced_size(head)
                if announced > free_memory():
                    why = f"its header announces {announced} bytes, more than this machine has free"
                    raise broken(path, size, why, "truncated-file")
                unpacked, remaining = io.BytesIO(), max(0, announced - len(head)) + SLACK_BYTES
                unpacked.write(head)
                # In pieces: one read would allocate the announced size before any byte arrives.
                while remaining and (piece := stream.read(min(remaining, PIECE_BYTES))):
                    remaining -= unpacked.write(piece)
                if not stream.read(1):
                    return unpacked.getvalue()
            why = f"it unpacks to more than the {announced} bytes that its header announces"
            kind = "damaged-gzip"
        except EOFError as error:
            why, kind = f"it ends too early ({error})", "truncated-file"
        except gzip.BadGzipFile as error:
            why, kind = str(error).partition(" 0x")[0], "damaged-gzip" if is_gzip else "not-nifti"
        except zlib.error as error:
            why, kind = str(error), "damaged-gzip"
    raise broken(path, size, why, kind)


def _announced_size(head: bytes) -> int:
    """Return the end of the voxels by the header in `head`, or `len(head)` if it is invalid.

    An invalid header is reported later, when the image is created from it.
    """
    try:
        image_class = _image_class(head)
        length = getattr(image_class.header_class, "sizeof_hdr", HEADER_BYTES)
        header = image_class.header_class.from_fileobj(io.BytesIO(head[:length]))
        shape = [max(0, int(length)) for length in header.get_data_shape()]
        offset = float(header.get_data_offset())
        voxels = math.prod(shape) * int(header.get_data_dtype().itemsize)
        return voxels + (int(offset) if 0 <= offset < 2**62 else 0)
    except HEADER_ERRORS:
        return len(head)


def _from_bytes(raw: bytes) -> Any:
    image_class = _image_class(raw)
    if image_class is None:
        raise ImageFileError("its first bytes are not those of NIfTI-1, NIfTI-2 or MGH")
    if image_class is nib.Nifti2Image and raw[344:347] in (b"n+1", b"ni1"):
        raise ImageFileError("its header is one of NIfTI-2 and calls itself NIfTI-1")
    return image_class.from_bytes(raw)


def _image_class(raw: bytes) -> Any:
    orders = (int.from_bytes(raw[:4], order) for order in ("little", "big"))
    return next((IMAGE_CLASSES[n] for n in orders if n in IMAGE_CLASSES), None)
