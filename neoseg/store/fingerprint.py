"""The cache key of a store entry, from its input files and settings."""

from pathlib import Path

from neoseg.cohort import Problem, Scan
from neoseg.digests import digest_of, digest_of_content
from neoseg.labels import Convention
from neoseg.store.damage import DataError
from neoseg.store.settings import PrepareSettings

LAYOUT = 8
"""Version of the entries; raise it when older ones cannot be read or hold other intensities."""


def fingerprint(scan: Scan, convention: Convention, settings: PrepareSettings) -> str:
    """Return 16 hex digits that change with the file contents, the settings and the convention.

    The folder of the files and their times do not count, so a copied cohort keeps its entries;
    neither do missing images or an unused mask.

    Raises:
        DataError: an image or label file cannot be read.
    """
    images = [_name_and_digest(path) for path in scan.images if path is not None]
    label = None if scan.label is None else _name_and_digest(scan.label)
    mask = mask_state(scan.mask) if settings.foreground == "mask" else None
    return digest_of_content(
        [LAYOUT, images, label, mask, list(convention.values), settings.model_dump()]
    )


def mask_state(path: Path | None) -> list[str] | None:
    """Return name and digest of a mask, to detect changes; None without a mask."""
    if path is None:
        return None
    try:
        return _name_and_digest(path)
    except DataError:
        return [path.name, ""]


def _name_and_digest(path: Path) -> list[str]:
    # Findings stored in an entry name its files, so the file names are part of the key.
    try:
        return [path.name, digest_of(path)]
    except OSError as error:
        found = f"cannot be read: {error.strerror}"
        kind, action = "unreadable-file", "check its permissions and the disk"
        if isinstance(error, FileNotFoundError):
            kind, action = "missing-file", "fetch the file, or exclude the subject"
        problem = Problem(str(path), found, "a NIfTI file", action, kind)
        raise DataError.of([problem]) from None
