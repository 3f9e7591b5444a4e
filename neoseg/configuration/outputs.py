"""Where a command writes: asked for at its beginning, so that no work is lost at its end."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator

from neoseg.foreign import CONFIG

_OF_RUNS = ("split.csv", "run.json", "checkpoints")


def _require_place(folder: Path) -> None:
    """Raise `ValueError` for a folder that cannot be written to or made."""
    way = (folder, *folder.absolute().parents)
    there = next(place for place in way if os.path.lexists(place))
    if not there.is_dir():
        told = "is" if there == folder else f"{there} is"
        raise ValueError(f"{told} a file, expected a folder; name another place")
    if not os.access(there, os.W_OK):
        raise ValueError(f"{there} may not be written to; name a place of your own")


def as_folder(path: Path) -> Path:
    """Return a path below which a command may write; raises `ValueError`."""
    _require_place(path)
    return path


def as_own_folder(path: Path) -> Path:
    """Return a path below which a command may write, which holds no run; raises `ValueError`."""
    as_folder(path)
    if (path / CONFIG).is_file() and any((path / name).exists() for name in _OF_RUNS):
        raise ValueError(
            "is the folder of a run, whose files would be written over; name another, such as "
            f"{path / 'output'}"
        )
    return path


def as_file(path: Path) -> Path:
    """Return a path that a command may write; raises `ValueError`."""
    if path.is_dir():
        raise ValueError("is a folder, expected a file to write; name one in it")
    _require_place(path.absolute().parent)  # in which a file that is there is replaced
    return path


AnyFolder = Annotated[Path, AfterValidator(as_folder)]
"""A folder that is there or can be made."""

OutputFolder = Annotated[Path, AfterValidator(as_own_folder)]
"""The same, which is not that of a run."""

OutputFile = Annotated[Path, AfterValidator(as_file)]
"""A file that is there or can be made."""
