"""Opening compressed arrays as data only."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import blosc2

_PLAIN = frozenset({"b2nd"})
"""What the metadata of a plain array holds; a recipe to compute one has more."""


def open_array(path: Path) -> blosc2.NDArray:
    """Map an array of numbers into memory; index it to read a block.

    A file of this format can also hold an expression or a function, which versions of the library
    compute as they open it, or the address of another file. Such a file is refused before.

    Raises:
        OSError: no such file.
        ValueError: a file that cannot be read, or that is no plain array.
    """
    with path.open("rb"):
        pass  # the library does not tell a missing file from a damaged one
    try:
        found: Any = blosc2.blosc2_ext.open(str(path), "r", 0, mmap_mode="r")
    except (RuntimeError, OverflowError, TypeError, KeyError, SyntaxError) as error:
        raise ValueError(str(error)) from None
    is_array = isinstance(found, blosc2.NDArray)
    if not is_array or set(found.schunk.meta.keys()) != _PLAIN or found.dtype.kind not in "fiu":
        raise ValueError("it is no plain array of numbers, and was not read")
    return found
