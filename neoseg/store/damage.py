"""Errors about files that cannot be read, with what to do about each kind of damage."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from neoseg.cohort.formats import dicom_line, ending_of
from neoseg.errors import NeosegError
from neoseg.findings.problems import Problem

FORMAT_NAMES = {".nrrd": "NRRD", ".mha": "MetaImage", ".mgz": "MGH", ".mgh": "MGH"}
"""Format names by file ending; all other endings are NIfTI."""

FIRST_NUMBERS = (348, 540, 1)
"""First integers of uncompressed files: header size (NIfTI) or version (MGH)."""

POINTERS = {
    b"version https://git-lfs": "fetch its content: git lfs pull",
    b"/annex/objects/": "fetch its content: datalad get, or git annex get",
}
"""First bytes of the short texts that stand for files whose content was not fetched."""


class DataError(NeosegError):
    """Files that cannot be used; the message names them and says what to do.

    `problems` are the individual findings, if there are several or their kind matters.
    """

    def __init__(self, message: str, problems: Iterable[Problem] = ()) -> None:
        self.problems = tuple(problems)
        super().__init__(message)

    @classmethod
    def of(cls, problems: Iterable[Problem]) -> DataError:
        """Create an error from findings."""
        problems = tuple(problems)
        return cls("\n    ".join(problem.sentence for problem in problems), problems)


def broken(path: Path, size: int, why: str, kind: str) -> DataError:
    """Return the error of a file whose content is not that of its format."""
    line = dicom_line(path)
    if line:
        return damaged(path, "is a DICOM file", "not-nifti", f"convert its folder: {line}")
    first = _first_bytes(path)
    for start, action in POINTERS.items():
        if first.startswith(start):
            found = f"holds {size} bytes that stand for a file which was not fetched"
            return damaged(path, found, "missing-file", action)
    numbers = (int.from_bytes(first[:4], order) for order in ("little", "big"))
    if path.name.lower().endswith(".gz") and any(n in FIRST_NUMBERS for n in numbers):
        right = path.name[: -len(".gz")]
        found = "is not compressed, although its name ends in .gz"
        return damaged(path, found, "not-nifti", f"rename it to {right}")
    name = FORMAT_NAMES.get(ending_of(path.name).lower(), "NIfTI")
    found, action = f"({size} bytes) is not a whole {name} file: {why}", "copy or download it again"
    if name in ("NRRD", "MetaImage") and kind == "not-nifti":
        action += ", or write it anew, such as with SimpleITK"
    return damaged(path, found, kind, action)


def damaged(path: Path, found: str, kind: str, action: str) -> DataError:
    """Return the error of a file that is not what its name says."""
    name = FORMAT_NAMES.get(ending_of(path.name).lower(), "NIfTI")
    article = "an" if name in ("NRRD", "MGH") else "a"
    return DataError.of([Problem(str(path), found, f"{article} {name} file", action, kind)])


def _first_bytes(path: Path) -> bytes:
    try:
        with path.open("rb") as stream:
            return stream.read(64)
    except OSError:
        return b""
