"""Where a command writes: asked for at its beginning, so that no work is lost at its end."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator

from neoseg.foreign import CONFIG


def _place(path: Path) -> Path:
    """Return the nearest thing on the way to a path that exists; raises `ValueError`."""
    there = next(place for place in (path, *path.absolute().parents) if os.path.lexists(place))
    if there != path and not there.is_dir():
        raise ValueError(f"{there} is a file, expected a folder; name another place")
    if not os.access(there, os.W_OK):
        raise ValueError(f"{there} may not be written to; name a place of your own")
    return there


def as_folder(path: Path) -> Path:
    """Return a path below which a command may write; raises `ValueError`."""
    if _place(path) == path and not path.is_dir():
        raise ValueError("is a file, expected a folder to write into; name another")
    return path


def as_own_folder(path: Path) -> Path:
    """Return a path below which a command may write, which holds no run; raises `ValueError`."""
    as_folder(path)
    if (path / CONFIG).is_file():
        raise ValueError(
            "is the folder of a run, whose files would be written over; name another, such as "
            f"{path / 'output'}"
        )
    return path


def as_file(path: Path) -> Path:
    """Return a path that a command may write; raises `ValueError`."""
    if _place(path) == path and path.is_dir():
        raise ValueError("is a folder, expected a file to write; name one in it")
    return path


AnyFolder = Annotated[Path, AfterValidator(as_folder)]
"""A folder that is there or can be made."""

OutputFolder = Annotated[Path, AfterValidator(as_own_folder)]
"""The same, which is not that of a run."""

OutputFile = Annotated[Path, AfterValidator(as_file)]
"""A file that is there or can be made."""
