"""The key of a store entry: what it was made of, and how."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path

from neoseg.cohort import Problem, Scan
from neoseg.labels import Convention
from neoseg.store.nifti import DataError
from neoseg.store.preprocess import PrepareSettings

LAYOUT = 4
"""Version of the entry layout; raise it when entries written before can no longer be read."""


State = list[str | int]
"""Name, bytes and time of a file."""


def fingerprint(scan: Scan, convention: Convention, settings: PrepareSettings) -> str:
    """Return 16 hex digits that change with the files' size or time, the settings, the labels.

    The folder in which the files lie does not count, so a moved cohort keeps its entries, and
    neither do images that the scan lacks, nor a mask that is not used.

    Raises:
        DataError: an image or label file that is not there.
    """
    images = [_state(path) for path in scan.images if path is not None]
    label = None if scan.label is None else _state(scan.label)
    mask = mask_state(scan.mask) if settings.foreground == "mask" else None
    content = json.dumps(
        [LAYOUT, images, label, mask, list(convention.values), settings.model_dump()],
        sort_keys=True,
    )
    return hashlib.sha256(content.encode()).hexdigest()[:16]


def mask_state(path: Path | None) -> State | None:
    """Return what tells that a mask is as it was; None without one."""
    if path is None:
        return None
    try:
        return _state(path)
    except DataError:
        return [path.name, 0, 0]


def _state(path: Path) -> State:
    try:
        stat = os.stat(path)
    except OSError as error:
        found = f"cannot be read: {error.strerror}"
        action = "fetch the file, or exclude the subject"
        problem = Problem(str(path), found, "a NIfTI file", action, "missing-file")
        raise DataError.of([problem]) from None
    return [path.name, stat.st_size, stat.st_mtime_ns]
