"""Find the sessions of a BIDS-like tree and the images of each."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from neoseg.cohort.formats import ending_of, fault_of, stem_of, volumes_in
from neoseg.cohort.scan import bare_id, scan_id
from neoseg.findings.problems import Problems, shorten

FOLDERS = ("sub-*/ses-*/anat", "sub-*/anat")
"""Where the images of a BIDS data set lie."""

PIPELINE_FOLDERS = ("derivatives/dhcp_anat_pipeline", "derivatives", ".")
"""Where the subjects of a dHCP tree or another data set may lie, in order of preference."""


@dataclass(frozen=True)
class SessionFolder:
    """One `anat` folder; `files` maps names without `sub-X[_ses-Y]_` and ending to paths."""

    subject: str
    session: str | None
    path: Path
    files: Mapping[str, Path]

    @property
    def id(self) -> str:
        """`sub-X_ses-Y`, or `sub-X`."""
        return scan_id(self.subject, self.session)

    def usable(self, name: str, problems: Problems) -> Path | None:
        """Return the path of a file, or None if it does not exist.

        An empty file or a broken link is recorded in `problems`.
        """
        path = self.files.get(name)
        if path is None:
            return None
        fault, kind = fault_of(path)
        if fault:
            action = "fetch the file, or exclude the subject"
            problems.error(path, fault, "a volume", action, kind, [self.id])
        return path


def has_subjects(root: Path) -> bool:
    """Return whether a folder contains `sub-*/[ses-*/]anat`."""
    return any(next(root.glob(pattern), None) is not None for pattern in FOLDERS)


def list_subjects(root: Path) -> frozenset[str]:
    """Return the ids of all `sub-*` folders."""
    return frozenset(bare_id(path.name, "sub-") for path in root.glob("sub-*") if path.is_dir())


def find_sessions(
    root: Path, wanted: Callable[[str], bool], problems: Problems
) -> list[SessionFolder]:
    """Return the sessions below `root` of all `wanted` subjects, sorted by subject and session."""
    sessions: list[SessionFolder] = []
    for folder in sorted(folder for pattern in FOLDERS for folder in root.glob(pattern)):
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
                folder,
                "holds no volume of this session",
                "images",
                "the session is left out",
                "no-images",
            )
    sessions = sorted(sessions, key=lambda item: (item.subject, item.session or ""))
    _check_links(root, sessions, problems)
    _check_duplicates(sessions, problems)
    return sessions


def _check_links(root: Path, sessions: Sequence[SessionFolder], problems: Problems) -> None:
    """Warn of links to files outside the root; they are read, but may change or vanish."""
    inside = root.resolve()
    outside = [
        path
        for item in sessions
        for path in item.files.values()
        if not path.resolve().is_relative_to(inside)
    ]
    if outside:
        problems.warn(
            root,
            f"holds {len(outside)} images that are links to places outside it: "
            f"{shorten((p.relative_to(root) for p in outside), 3)}",
            f"files below {inside}",
            "they are read where they are; copy them if that is not meant",
            "outside-root",
        )


def _check_duplicates(sessions: Sequence[SessionFolder], problems: Problems) -> None:
    """Record sessions in the same folder, and scans beside the sessions of their subject."""
    by_folder: dict[Path, SessionFolder] = {}
    for item in sessions:
        first = by_folder.setdefault(item.path.resolve(), item)
        if first is not item:
            problems.error(
                item.path,
                f"is the same folder as {first.path}",
                "one folder for each session",
                "remove the link, or exclude one of the two",
                "duplicate-scan",
                [item.id],
            )
    for item in sessions:
        if item.session is None and any(s.subject == item.subject and s.session for s in sessions):
            problems.warn(
                item.path,
                f"lies beside folders ses-* of sub-{item.subject}",
                "either sessions or none",
                "it counts as a session of its own; move it away if it is a copy",
                "duplicate-scan",
            )


def _images(folder: Path, scan: str, problems: Problems) -> dict[str, Path]:
    """Map the names of a folder's volumes, without prefix and ending, to their paths."""
    files: dict[str, Path] = {}
    foreign: list[str] = []
    # The last path of a name wins; in reversed order that is the compressed NIfTI file, if any.
    for path in reversed(volumes_in(folder)):
        stem = stem_of(path)
        if stem.removeprefix(f"{scan}_") in files:
            previous = files[stem.removeprefix(f"{scan}_")]
            problems.warn(
                folder,
                f"holds {stem} both as {ending_of(previous.name)} and as {ending_of(path.name)}",
                "one of them",
                f"{path.name} is taken; remove one of the two",
                "several-files",
            )
        if stem.startswith(f"{scan}_"):
            files[stem.removeprefix(f"{scan}_")] = path
        else:
            foreign.append(path.name)
    if foreign:
        problems.warn(
            folder,
            f"holds images of another scan ({shorten(foreign)})",
            f"names that begin with {scan}_",
            "they are ignored",
            "foreign-file",
        )
    return files
