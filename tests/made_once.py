"""Folders that are dear to make: by one of the processes that share the tests out, for all."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from filelock import FileLock


def made_once(factory: pytest.TempPathFactory, name: str, make: Callable[[Path], object]) -> Path:
    """Return the folder of that name, which the first to ask for it fills; only to be read.

    Where `make` fails, each who asks tries anew in a folder of its own and sees why.
    """
    base = factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        base = base.parent
    note = base / f"{name}.made"
    with FileLock(base / f"{name}.lock"):
        if not note.is_file():
            folder = factory.mktemp(name)
            make(folder)
            note.write_text(str(folder))
    return Path(note.read_text())
