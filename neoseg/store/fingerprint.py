"""The key of a store entry: what it was made of, and how."""

from __future__ import annotations

from pathlib import Path

from neoseg.cohort import Problem, Scan
from neoseg.digests import digest_of, digest_of_content
from neoseg.labels import Convention
from neoseg.store.nifti import DataError
from neoseg.store.preprocess import PrepareSettings

LAYOUT = 6
"""Version of the entry layout; raise it when entries written before can no longer be read."""


def fingerprint(scan: Scan, convention: Convention, settings: PrepareSettings) -> str:
    """Return 16 hex digits that change with the content of the files, the settings, the labels.

    Neither the folder in which the files lie counts nor their times, so a copied cohort keeps its
    entries; nor do images that the scan lacks, nor a mask that is not used.

    Raises:
        DataError: an image or label file that is not there.
    """
    images = [_content(path) for path in scan.images if path is not None]
    label = None if scan.label is None else _content(scan.label)
    mask = mask_state(scan.mask) if settings.foreground == "mask" else None
    return digest_of_content(
        [LAYOUT, images, label, mask, list(convention.values), settings.model_dump()]
    )


def mask_state(path: Path | None) -> list[str] | None:
    """Return what tells that a mask is as it was; None without one."""
    if path is None:
        return None
    try:
        return _content(path)
    except DataError:
        return [path.name, ""]


def _content(path: Path) -> list[str]:
    # Findings about an entry name its files, so the names belong to it.
    try:
        return [path.name, digest_of(path)]
    except OSError as error:
        found = f"cannot be read: {error.strerror}"
        kind, action = "unreadable-file", "check its permissions and the disk"
        if isinstance(error, FileNotFoundError):
            kind, action = "missing-file", "fetch the file, or exclude the subject"
        problem = Problem(str(path), found, "a NIfTI file", action, kind)
        raise DataError.of([problem]) from None
