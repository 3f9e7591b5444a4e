"""The key of a store entry: what it was made of, and how."""

from __future__ import annotations

import hashlib
import json
import os

from neoseg.cohort import Problem, Scan
from neoseg.data.nifti import DataError
from neoseg.data.preprocess import PrepareSettings
from neoseg.labels import Convention

LAYOUT = 3
"""Version of the entry layout; raise it when entries written before can no longer be read."""


def fingerprint(scan: Scan, convention: Convention, settings: PrepareSettings) -> str:
    """Return 16 hex digits that change with the files' size or time, the settings, the labels.

    The folder in which the files lie does not count, so a moved cohort keeps its entries.

    Raises:
        DataError: an image or label file that is not there.
    """
    files: list[list[str | int] | None] = []
    for path in (*scan.images, scan.label, scan.mask):
        if path is None:
            files.append(None)
            continue
        try:
            stat = os.stat(path)
        except OSError as error:
            if path == scan.mask:
                files.append([path.name, 0, 0])
                continue
            found = f"cannot be read: {error.strerror}"
            action = "fetch the file, or exclude the subject"
            problem = Problem(str(path), found, "a NIfTI file", action, "missing-file")
            raise DataError.of([problem]) from None
        files.append([path.name, stat.st_size, stat.st_mtime_ns])
    content = json.dumps(
        [LAYOUT, files, list(convention.values), settings.model_dump()], sort_keys=True
    )
    return hashlib.sha256(content.encode()).hexdigest()[:16]
