"""Output paths of commands, checked at the start so that no work is lost at the end."""

import os
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator

from neoseg.findings.settings import ConfigError
from neoseg.foreign import CONFIG

_RUN_CONTENT = ("split.csv", "run.json", "checkpoints")


def _require_place(folder: Path) -> None:
    """Raise `ValueError` if a folder can neither be written to nor created."""
    candidates = (folder, *folder.absolute().parents)
    existing = next(path for path in candidates if os.path.lexists(path))
    if not existing.is_dir():
        subject = "is" if existing == folder else f"{existing} is"
        raise ValueError(f"{subject} a file, expected a folder; name another place")
    if not os.access(existing, os.W_OK):
        raise ValueError(f"{existing} may not be written to; name a place of your own")


def can_be_written(folder: Path) -> bool:
    """Return whether a folder can be written to or created."""
    try:
        _require_place(folder)
    except ValueError:
        return False
    return True


def as_folder(path: Path) -> Path:
    """Validate a folder that a command writes to; raises `ValueError`."""
    _require_place(path)
    return path


def as_own_folder(path: Path) -> Path:
    """Validate an output folder that is not a run folder; raises `ValueError`."""
    as_folder(path)
    if (path / CONFIG).is_file() and any((path / name).exists() for name in _RUN_CONTENT):
        raise ValueError(
            "is the folder of a run, whose files would be written over; name another, such as "
            f"{path / 'output'}"
        )
    return path


def as_file(path: Path) -> Path:
    """Validate a file that a command writes; raises `ValueError`."""
    if path.is_dir():
        raise ValueError("is a folder, expected a file to write; name one in it")
    _require_place(path.absolute().parent)  # an existing file is replaced in it
    return path


def ending_in(*endings: str) -> AfterValidator:
    """Return a validator of the ending of a file, whatever its capitals; names the first."""

    def check(path: Path) -> Path:
        if path.suffix.lower() not in endings:
            raise ConfigError(f"output is {path}, expected a file that ends in {endings[0]}")
        return path

    return AfterValidator(check)


AnyFolder = Annotated[Path, AfterValidator(as_folder)]
"""A folder that exists or can be created."""

OutputFolder = Annotated[Path, AfterValidator(as_own_folder)]
"""A folder that exists or can be created, and is not a run folder."""

OutputFile = Annotated[Path, AfterValidator(as_file)]
"""A file that exists or can be created."""
