"""Read archives, pictures and checkpoints after checking them before they are unpacked."""

import io
import pickle
import re
import zipfile
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from neoseg.foreign.files import ForeignError, opened, read_bytes
from neoseg.foreign.values import require_plain, require_values

LARGEST_CHECKPOINT = 2**36

LARGEST_PICTURE = 2**25
MOST_PIXELS = 2**26

_TENSOR_GLOBALS = re.compile(
    r"torch\._utils\._rebuild_(tensor(_v2)?|parameter)|torch\.[A-Z][A-Za-z0-9]+Storage"
    r"|torch\.(float|bfloat|int|uint)\d+|torch\.bool|torch\.nn\.parameter\.Parameter"
)
"""Globals that the pickle of a checkpoint may name besides `OrderedDict`: those of tensors."""

_NUMBER_GLOBALS = re.compile(
    r"numpy\.(_core|core)\.multiarray\.scalar|numpy\.dtype|_codecs\.encode|torch\.device"
)
"""Further globals in checkpoints of other projects: NumPy scalars, and devices."""


def read_arrays(path: Path, limit: int, within: Path | None = None) -> dict[str, np.ndarray]:
    """Read the arrays of an `.npz`, requiring that each has the size that its header announces.

    `limit` is the largest total size in bytes, both compressed and uncompressed.

    Raises:
        ForeignError: names the file and what is wrong with it.
    """
    with opened(path, limit, within) as stream, _as_foreign_error(path):
        archive = zipfile.ZipFile(stream)
        if sum(member.file_size for member in archive.infolist()) > limit:
            raise ValueError(f"it unpacks to more than {limit} bytes")
        return {
            member.filename.removesuffix(".npy"): _array(archive, member)
            for member in archive.infolist()
        }


def _array(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> np.ndarray:
    if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise ValueError(f"{member.filename} is packed in another way than NumPy's")
    with archive.open(member) as packed:
        content = packed.read(member.file_size)  # with a size, it decompresses no more than that
    stream = io.BytesIO(content)
    reader = {
        (1, 0): np.lib.format.read_array_header_1_0,
        (2, 0): np.lib.format.read_array_header_2_0,
    }[np.lib.format.read_magic(stream)]
    shape, by_columns, dtype = reader(stream)
    start = stream.tell()
    count = 1
    for length in shape:
        count *= length
    if dtype.hasobject or min(shape, default=0) < 0:
        raise ValueError(f"{member.filename} holds no numbers")
    if count * dtype.itemsize != len(content) - start:
        raise ValueError(f"{member.filename} has another size than its header announces")
    flat = np.frombuffer(content, dtype, count, start)
    return flat.reshape(shape, order="F" if by_columns else "C")


def read_picture(path: Path, within: Path | None = None) -> bytes:
    """Read the bytes of a PNG after checking its format and size.

    Raises:
        ForeignError: names the file and what is wrong with it.
    """
    from PIL import Image

    content = read_bytes(path, LARGEST_PICTURE, within)
    with _as_foreign_error(path), Image.open(io.BytesIO(content), formats=("PNG",)) as picture:
        if picture.width * picture.height > MOST_PIXELS:
            raise ValueError(f"it has {picture.width} x {picture.height} pixels")
        picture.verify()
    return content


@contextmanager
def opened_checkpoint(
    path: Path, within: Path | None = None, numbers: bool = False
) -> Iterator[BinaryIO]:
    """Open a checkpoint for `torch.load` after checking that it has only tensors and plain values.

    It must be uncompressed, and its hyper-parameters, from which a network is built, must have no
    references. `numbers` also allows NumPy scalars of plain data types, and devices.

    Raises:
        ForeignError: names the file and what is wrong with it.
    """
    with opened(path, LARGEST_CHECKPOINT, within) as stream:
        with _as_foreign_error(path):
            archive = _single_archive(stream)
            packed = [m for m in archive.infolist() if m.compress_type != zipfile.ZIP_STORED]
            records = [n for n in archive.namelist() if n.endswith("/data.pkl")]
            if any(name.endswith("/constants.pkl") for name in archive.namelist()):
                raise ValueError(
                    "it is a program (TorchScript), and programs are not run; where you trust it, "
                    "save its weights: torch.save(torch.jit.load(FILE).state_dict(), 'weights.pt')"
                )
            if packed or len(records) != 1:
                raise ValueError("it is not an archive as torch writes it")
            outline = _Outline(io.BytesIO(archive.read(records[0])), numbers).load()
        if isinstance(outline, dict):
            hyper_parameters = outline.get("hyper_parameters")
            require_plain(hyper_parameters, f"{path}, hyper_parameters")
            require_values(hyper_parameters, f"{path}, hyper_parameters")
        stream.seek(0)
        yield stream


def _single_archive(stream: BinaryIO) -> zipfile.ZipFile:
    """Open an archive in which every reader finds the same members.

    torch and `zipfile` find the list of members in different ways. Something before or between
    them, such as a pickle of the old format or a second list, would be read by one alone.

    Raises:
        ValueError: for any other file.
    """
    archive = zipfile.ZipFile(stream)
    stream.seek(0)
    at = 0
    for member in sorted(archive.infolist(), key=lambda member: member.header_offset):
        stream.seek(member.header_offset)
        head = stream.read(30)
        # At most the padding and descriptor of torch's own writer lie between two members.
        if head[:4] != b"PK\3\4" or not at <= member.header_offset <= at + 64:
            raise ValueError("it is not an archive as torch writes it")
        name, extra = (int.from_bytes(head[n : n + 2], "little") for n in (26, 28))
        at = member.header_offset + 30 + name + extra + member.compress_size
    if not at <= archive.start_dir <= at + 64 or _listed_at(stream) != archive.start_dir:
        raise ValueError("it is not an archive as torch writes it")
    return archive


def _listed_at(stream: BinaryIO) -> int:
    """Return where the last bytes of an archive say that its list of members begins."""
    end = stream.seek(-22, io.SEEK_END)
    offset = int.from_bytes(stream.read(22)[16:20], "little")
    if offset != 2**32 - 1:
        return offset
    stream.seek(end - 76)  # the record and the locator of an archive of more than 4 GiB
    return int.from_bytes(stream.read(56)[48:], "little")


class _Outline(pickle.Unpickler):
    """Unpickles containers and plain values; tensors become placeholders, all else is refused."""

    def __init__(self, stream: BinaryIO, numbers: bool) -> None:
        super().__init__(stream)
        self.numbers = numbers

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("collections", "OrderedDict"):
            return OrderedDict
        if _TENSOR_GLOBALS.fullmatch(f"{module}.{name}"):
            return _TensorStub
        if self.numbers and _NUMBER_GLOBALS.fullmatch(f"{module}.{name}"):
            return _DtypeStub if name == "dtype" else _TensorStub
        raise pickle.UnpicklingError(f"it names {module}.{name}")

    def persistent_load(self, pid: Any) -> Any:
        return None


class _TensorStub:
    """Placeholder for a tensor, a part of one, or a number."""

    def __init__(self, *_: Any) -> None: ...


class _DtypeStub(_TensorStub):
    """Placeholder for a NumPy data type, which must be a plain one."""

    def __init__(self, name: str, *_: Any) -> None:
        if not re.fullmatch(r"[<>=|]?(b1|[iu][1248]|f[248])", str(name)):
            raise pickle.UnpicklingError(f"it has a number of the kind {name!r}")

    def __setstate__(self, state: Any) -> None: ...


@contextmanager
def _as_foreign_error(path: Path) -> Iterator[None]:
    """Convert any exception of a damaged archive, picture or pickle to a `ForeignError`."""
    try:
        yield
    except ForeignError:
        raise
    except (MemoryError, RecursionError) as error:
        raise ForeignError(f"{path} asks for more than there is ({type(error).__name__})") from None
    except Exception as error:
        raise ForeignError(f"{path} is not what a run writes, or damaged: {error}") from None
