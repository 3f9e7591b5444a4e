"""Open files of a run safely: regular, of limited size, and inside the run folder."""

import os
import re
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from neoseg.errors import NeosegError

_OF_WANDB = re.compile(r"(.+/)?wandb/[^/]*run-[^/]+/logs/debug-core\.log")
"""A link into the home folder that W&B makes in each of its runs, and opens no more later."""

LARGEST = 4 * 2**20
"""Largest configuration in bytes; real ones have about ten thousand."""

LARGEST_RECORD, LARGEST_TABLE = 2**24, 2**27
"""Largest JSON file and table in bytes; JSON lists scans, tables have a row per scan and class."""


MAX_COLUMNS, MAX_CELLS = 2**16, 2**24
"""Largest numbers of columns and cells of a table; real ones have about thirty columns."""


class ForeignError(NeosegError):
    """A file is not as written by a run; nothing in it was used."""


@contextmanager
def opened(path: Path, limit: int, within: Path | None = None) -> Iterator[BinaryIO]:
    """Open a regular file for reading, without blocking on devices and pipes.

    Args:
        path: of the file.
        limit: largest size in bytes.
        within: folder of the run to which the file belongs; links that lead out of it are refused.
            None for files named by the user, which may be links.

    Raises:
        ForeignError: names the file and what is wrong with it.
    """
    flags = getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)
    try:
        target = path.resolve(strict=True)
        if within is not None and not target.is_relative_to(within.resolve()):
            raise ForeignError(
                f"{path} is a link that leads out of {within}; put the file itself in its place if "
                "you trust it"
            )
        handle = os.open(target, os.O_RDONLY | flags)
        status = os.fstat(handle)
    except ForeignError:
        raise
    except (OSError, RuntimeError, ValueError) as error:  # also for a loop of links or a null byte
        why = getattr(error, "strerror", None) or error
        raise ForeignError(f"{path} cannot be read: {why}") from None
    if not stat.S_ISREG(status.st_mode):
        os.close(handle)
        raise ForeignError(f"{path} is not a regular file and was not read")
    with open(handle, "rb") as stream:
        if status.st_size > limit:
            raise ForeignError(f"{path} has {status.st_size} bytes, more than {limit} are expected")
        yield stream


def require_no_link_out(folder: Path) -> None:
    """Raise `ForeignError` if a link below a run folder leads out of it.

    For commands that write into a run: whatever opens, replaces or deletes a file there would
    follow such a link.
    """
    base = folder.resolve()
    for place, folders, files in os.walk(folder):
        for path in (Path(place, name) for name in (*folders, *files)):
            if not path.is_symlink() or _OF_WANDB.fullmatch(path.relative_to(folder).as_posix()):
                continue
            try:
                inside = path.resolve().is_relative_to(base)
            except (OSError, RuntimeError):  # a loop
                inside = False
            if not inside:
                raise ForeignError(
                    f"{path} is a link that leads out of the run {folder}, into which this command "
                    "would write; put what it leads to in its place if you trust it"
                )


def read_bytes(path: Path, limit: int = LARGEST, within: Path | None = None) -> bytes:
    """Read the bytes of a file that `opened` accepts."""
    with opened(path, limit, within) as stream:
        try:
            return stream.read(limit)
        except OSError as error:
            raise ForeignError(f"{path} cannot be read: {error.strerror}") from None


def read_text(path: Path, limit: int = LARGEST, within: Path | None = None) -> str:
    """Read the UTF-8 text of a file that `opened` accepts."""
    try:
        return read_bytes(path, limit, within).decode("utf-8")
    except UnicodeDecodeError as error:
        raise ForeignError(f"{path} cannot be read: {error}") from None


def read_table(path: Path, within: Path | None = None) -> str:
    """Read the text of a table with limited numbers of columns and cells, which cost memory."""
    text = read_text(path, LARGEST_TABLE, within)
    require_few_cells(path, text)
    return text


def require_few_cells(path: Path, text: str) -> None:
    """Raise `ForeignError` if a table with commas, tabs or semicolons has too many cells."""
    head = text[: text.find("\n")] if "\n" in text else text
    for part, limit, kind in ((head, MAX_COLUMNS, "columns"), (text, MAX_CELLS, "cells")):
        count = sum(map(part.count, ",\t;\n"))
        if count >= limit:
            raise ForeignError(f"{path} has {count} {kind}, fewer than {limit} are expected")
