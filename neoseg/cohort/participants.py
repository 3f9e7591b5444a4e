"""Ages of the subjects, from `participants.tsv` and the tables of their sessions."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from neoseg.cohort.folders import SessionFolder
from neoseg.cohort.scan import bare_id, scan_id
from neoseg.cohort.table import read_rows
from neoseg.findings.problems import Problems, shorten

MISSING_TEXT = frozenset({"", "n/a", "na", "nan", "none", "unknown"})
MISSING_NUMBERS = frozenset({-999.0, 0.0})
AGE_RANGE = (15.0, 60.0)
"""Weeks of post-menstrual age that a fetal or neonatal scan can have."""

UNKNOWN_AGE = "the age is taken as not known"

NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)

BIRTH_COLUMNS = ("birth_age", "birth_ga")
SCAN_COLUMNS = ("scan_age", "scan_ga", "age")

Key = tuple[str, str | None]


@dataclass(frozen=True)
class Ages:
    """Weeks of post-menstrual age at birth and at the scan, None where not known."""

    birth: float | None = None
    scan: float | None = None

    def filled(self, other: Ages) -> Ages:
        """Return these ages, with those of `other` where one is not known."""
        return Ages(self.birth or other.birth, self.scan or other.scan)


def parse_age(text: str, where: str, problems: Problems) -> float | None:
    """Read an age in weeks; None for missing values and, with a warning, for impossible ones."""
    if text.casefold() in MISSING_TEXT:
        return None
    # Not all that Python takes for a number: it reads 4_0 as 40.
    age = float(text) if NUMBER.fullmatch(text) else None
    if age is None:
        problems.warn(where, f"found {text!r}", "weeks, or n/a", UNKNOWN_AGE, "impossible-age")
        return None
    if age in MISSING_NUMBERS:
        return None
    low, high = AGE_RANGE
    if not low <= age <= high:
        problems.warn(
            where,
            f"found {text}",
            f"{low:g} to {high:g} weeks of post-menstrual age",
            UNKNOWN_AGE,
            "impossible-age",
        )
        return None
    return age


def read_ages(
    folders: Sequence[Path],
    sessions: Sequence[SessionFolder],
    wanted: Callable[[str], bool],
    problems: Problems,
) -> Mapping[Key, Ages]:
    """Return the ages of every session found on disk.

    `folders` are looked through in order for `participants.tsv` and `sub-X/sub-X_sessions.tsv`,
    the first of each counts. The table of a session outranks `participants.tsv`. Rows without
    files, and files without a row in a table that is there, are noted as warnings.
    """
    on_disk = {(item.subject, item.session) for item in sessions}
    subjects = sorted({subject for subject, _ in on_disk})
    rows: dict[Key, Ages] = {}

    participants = _first(folders, "participants.tsv")
    if participants is None:
        problems.warn(
            "participants.tsv",
            f"is in none of {shorten(folders)}",
            action="ages at birth are not known",
            kind="missing-age",
        )
    else:
        table = read_rows(participants, ["participant_id"], problems)
        _collect(table, participants, None, rows, on_disk, problems)
        _compare(participants, {s for s, _ in rows if wanted(s)}, set(subjects), problems)

    for subject in subjects:
        path = _first(folders, f"sub-{subject}/sub-{subject}_sessions.tsv")
        if path is None:
            continue
        own: dict[Key, Ages] = {}
        _collect(read_rows(path, ["session_id"], problems), path, subject, own, on_disk, problems)
        _compare(
            path,
            {scan_id(*key).removeprefix("sub-") for key in own},
            {scan_id(*key).removeprefix("sub-") for key in on_disk if key[0] == subject},
            problems,
        )
        rows |= {key: ages.filled(rows.get(key, Ages())) for key, ages in own.items()}

    nothing = Ages()
    ages = {
        key: rows.get(key, nothing).filled(rows.get((key[0], None), nothing)) for key in on_disk
    }
    ageless = sorted(scan_id(*key) for key, found in ages.items() if found.scan is None)
    if ageless:
        problems.warn(
            "scan_age",
            f"is not known for {len(ageless)} of {len(ages)} scans: {shorten(ageless)}",
            action="they count as age group 'unknown'",
            kind="missing-age",
        )
    return ages


def _first(folders: Sequence[Path], name: str) -> Path | None:
    return next((folder / name for folder in folders if (folder / name).is_file()), None)


def _collect(
    table: Sequence[Mapping[str, str]],
    path: Path,
    subject: str | None,
    rows: dict[Key, Ages],
    on_disk: Collection[Key],
    problems: Problems,
) -> None:
    """Add the ages of a table's rows; two rows of one scan that differ are an error of the scan."""
    for number, row in enumerate(table, start=2):
        name = subject or bare_id(row["participant_id"], "sub-")
        text = bare_id(row.get("session_id", ""), "ses-")
        session = None if text.casefold() in MISSING_TEXT else text
        if not name or (subject and not session):
            problems.warn(
                f"{path} row {number}", "has no id", action="the row is ignored", kind="bad-table"
            )
            continue
        if {"/", "\\", ".."} & {name, session or "", *name, *(session or "")}:
            problems.warn(
                f"{path} row {number}",
                f"has the id {scan_id(name, session)!r}",
                "a name, not a path",
                "the row is ignored",
                "outside-root",
            )
            continue
        where = f"{path} row {number} ({scan_id(name, session)})"
        ages = Ages(
            *(
                parse_age(next((row[c] for c in columns if c in row), ""), f"{where} age", problems)
                for columns in (BIRTH_COLUMNS, SCAN_COLUMNS)
            )
        )
        if (name, session) in rows:
            duplicate = ("one row", "delete one", "duplicate-row")
            concerned = [key for key in on_disk if key[0] == name and session in (None, key[1])]
            if rows[name, session] == ages or not concerned:
                problems.warn(where, "repeats an earlier row of the same scan", *duplicate)
            else:
                scans = [scan_id(*key) for key in sorted(concerned, key=str)]
                found = "contradicts an earlier row of the same scan"
                problems.error(where, found, *duplicate, scans)
        rows.setdefault((name, session), ages)


def _compare(path: Path, listed: set[str], found: set[str], problems: Problems) -> None:
    """Note rows without files and files without rows."""
    for lacking, what, action, kind in (
        (
            listed - found,
            "rows have no files",
            "fetch the files if these scans should take part",
            "row-without-files",
        ),
        (
            found - listed,
            "of the scans on disk have no row",
            "add rows, or their ages stay unknown",
            "files-without-row",
        ),
    ):
        if lacking:
            names = shorten(sorted(lacking))
            problems.warn(path, f"{len(lacking)} {what}: {names}", action=action, kind=kind)
