"""Find the sessions of a BIDS-like tree and the images that each holds."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from neoseg.cohort.problems import Problems, shorten
from neoseg.cohort.scan import bare_id, scan_id

EXTENSIONS = (".nii", ".nii.gz")


@dataclass(frozen=True)
class SessionFolder:
    """One `anat` folder; `files` maps what follows `sub-X[_ses-Y]_` in a name to its path."""

    subject: str
    session: str | None
    path: Path
    files: Mapping[str, Path]

    @property
    def id(self) -> str:
        """`sub-X_ses-Y`, or `sub-X`."""
        return scan_id(self.subject, self.session)

    def usable(self, name: str, problems: Problems) -> Path | None:
        """Return the path of a file, or None where there is none.

        A file that is empty or a link to nothing is noted in `problems`.
        """
        path = self.files.get(name)
        if path is None:
            return None
        if not path.is_file():
            found = "is a link to a file that is not there" if path.is_symlink() else "is no file"
            problems.error(path, found, "a NIfTI file", "fetch the file, or exclude the subject")
        elif path.stat().st_size == 0:
            problems.error(
                path, "is empty", "a NIfTI file", "fetch it again, or exclude the subject"
            )
        return path


def has_subjects(root: Path) -> bool:
    """Tell whether a folder holds `sub-*/[ses-*/]anat`."""
    patterns = ("sub-*/ses-*/anat", "sub-*/anat")
    return any(next(root.glob(pattern), None) is not None for pattern in patterns)


def list_subjects(root: Path) -> frozenset[str]:
    """Return the ids of all `sub-*` folders."""
    return frozenset(bare_id(path.name, "sub-") for path in root.glob("sub-*") if path.is_dir())


def find_sessions(
    root: Path, wanted: Callable[[str], bool], problems: Problems
) -> list[SessionFolder]:
    """Return the sessions under `root` of the subjects that are `wanted`, sorted by their ids."""
    sessions: list[SessionFolder] = []
    for folder in sorted([*root.glob("sub-*/ses-*/anat"), *root.glob("sub-*/anat")]):
        parts = folder.relative_to(root).parts
        subject = bare_id(parts[0], "sub-")
        session = bare_id(parts[1], "ses-") if len(parts) == 3 else None
        if not wanted(subject) or not folder.is_dir():
            continue
        files = _images(folder, scan_id(subject, session), problems)
        if files:
            sessions.append(SessionFolder(subject, session, folder, files))
        else:
            problems.warn(
                folder, "holds no NIfTI file of this session", "images", "the session is left out"
            )
    return sorted(sessions, key=lambda item: (item.subject, item.session or ""))


def _images(folder: Path, scan: str, problems: Problems) -> dict[str, Path]:
    """Map the names of a folder's NIfTI files, without prefix and extension, to their paths."""
    files: dict[str, Path] = {}
    strange: list[str] = []
    for path in sorted(folder.iterdir()):
        # `.nii.gz` sorts after `.nii`, so that where both exist the packed one is taken.
        extension = next((e for e in EXTENSIONS if path.name.endswith(e)), None)
        if extension is None or path.name.startswith("."):
            continue
        stem = path.name.removesuffix(extension)
        if stem.startswith(f"{scan}_"):
            files[stem.removeprefix(f"{scan}_")] = path
        else:
            strange.append(path.name)
    if strange:
        problems.warn(
            folder,
            f"holds images of another scan ({shorten(strange)})",
            f"names that begin with {scan}_",
            "they are ignored",
        )
    return files
