"""Open compressed blosc2 arrays as plain data."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any

import blosc2

from neoseg.store.damage import DataError

_PLAIN = frozenset({"b2nd"})
"""Metadata keys of a plain array; a lazy expression or function has further ones."""

# Decompressing a patch takes less time than synchronising several threads, and every loader process
# would start as many threads as the machine has cores.
blosc2.set_nthreads(1)

MAX_OPEN = 48
"""Number of arrays that a process keeps open. Each takes a file handle (a process has about a
thousand) and its mapped pages count as memory; opening an array again takes half a millisecond.
"""


def mapped(path: Path) -> blosc2.NDArray:
    """Open an array with `open_array`, or return it from an LRU cache of `MAX_OPEN` open arrays.

    Raises:
        OSError, ValueError: see `open_array`.
    """
    status = path.stat()
    return _mapped(path, status.st_ino, status.st_mtime_ns)


@lru_cache(maxsize=MAX_OPEN)
def _mapped(path: Path, inode: int, changed: int) -> blosc2.NDArray:
    return open_array(path)


@contextmanager
def unpacking(path: Path) -> Iterator[None]:
    """Turn a decompression error inside the block into one that names the array of the store.

    Raises:
        DataError: the array is damaged; the message says how to rebuild it.
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
    """Memory-map an array of numbers; index it to read a block.

    A file of this format can also hold an expression or a function, which some versions of the
    library evaluate on opening, or a reference to another file. Such files are rejected first.

    Raises:
        OSError: the file does not exist.
        ValueError: the file cannot be read, or is not a plain array.
    """
    try:
        array: Any = blosc2.blosc2_ext.open(str(path), "r", 0, mmap_mode="r")
    except (RuntimeError, OverflowError, TypeError, KeyError, SyntaxError) as error:
        with path.open("rb"):
            pass  # blosc2 raises the same error for a missing and a damaged file
        raise ValueError(str(error)) from None
    is_array = isinstance(array, blosc2.NDArray)
    if not is_array or set(array.schunk.meta.keys()) != _PLAIN or array.dtype.kind not in "fiu":
        raise ValueError("it is not a plain array of numbers, and was not read")
    return array
