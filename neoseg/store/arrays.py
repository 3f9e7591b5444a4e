"""Opening compressed arrays as data only."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any

import blosc2

from neoseg.store.nifti import DataError

_PLAIN = frozenset({"b2nd"})
"""What the metadata of a plain array holds; a recipe to compute one has more."""

# A patch is unpacked in less time than several threads take to agree on it, and every loader
# process would have as many of them as the machine has cores.
blosc2.set_nthreads(1)

KEPT = 48
"""Arrays that a process keeps open. Each holds a file handle, of which a process has about a
thousand, and counts the pages that were read of it as memory; to open one again takes half a
millisecond.
"""


def mapped(path: Path) -> blosc2.NDArray:
    """Return `open_array` of a file, the same again while it is among the last ones asked for.

    Raises:
        OSError, ValueError: as `open_array`.
    """
    found = path.stat()
    return _mapped(path, found.st_ino, found.st_mtime_ns)


@lru_cache(maxsize=KEPT)
def _mapped(path: Path, inode: int, changed: int) -> blosc2.NDArray:
    return open_array(path)


@contextmanager
def unpacking(path: Path) -> Iterator[None]:
    """Name the array of the store that cannot be unpacked while the block runs.

    Raises:
        DataError: saying what to do.
    """
    try:
        yield
    except RuntimeError as error:
        raise DataError(
            f"{path} is damaged ({error}); python -m neoseg.prepare, with the cohort and the store "
            "of this run, compares checksums and builds anew what is not as it was written. Then "
            "start the run again"
        ) from None


def open_array(path: Path) -> blosc2.NDArray:
    """Map an array of numbers into memory; index it to read a block.

    A file of this format can also hold an expression or a function, which versions of the library
    compute as they open it, or the address of another file. Such a file is refused before.

    Raises:
        OSError: no such file.
        ValueError: a file that cannot be read, or that is no plain array.
    """
    try:
        found: Any = blosc2.blosc2_ext.open(str(path), "r", 0, mmap_mode="r")
    except (RuntimeError, OverflowError, TypeError, KeyError, SyntaxError) as error:
        with path.open("rb"):
            pass  # the library does not tell a missing file from a damaged one
        raise ValueError(str(error)) from None
    is_array = isinstance(found, blosc2.NDArray)
    if not is_array or set(found.schunk.meta.keys()) != _PLAIN or found.dtype.kind not in "fiu":
        raise ValueError("it is no plain array of numbers, and was not read")
    return found
