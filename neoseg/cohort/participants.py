"""Ages of the subjects, from `participants.tsv` and the tables of their sessions."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path

from neoseg.cohort.ages import MISSING_TEXT, UNKNOWN_AGE, Ages, parse_age, units_of
from neoseg.cohort.folders import SessionFolder
from neoseg.cohort.scan import bare_id, scan_id
from neoseg.cohort.table import read_rows
from neoseg.findings.problems import Problems, shorten

BIRTH_COLUMNS = ("birth_age", "birth_ga")
SCAN_COLUMNS = ("scan_age", "scan_ga", "age")
SESSION_COLUMNS = ("session_id", "session")

Key = tuple[str, str | None]


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

    ages = _of_sessions(rows, on_disk, problems)
    ageless = sorted(scan_id(*key) for key, found in ages.items() if found.scan is None)
    if ageless:
        problems.warn(
            "scan_age",
            f"is not known for {len(ageless)} of {len(ages)} scans: {shorten(ageless)}",
            action="they count as age group 'unknown'",
            kind="missing-age",
        )
    return ages


def _of_sessions(
    rows: Mapping[Key, Ages], on_disk: Collection[Key], problems: Problems
) -> dict[Key, Ages]:
    """Return what the rows tell of each session, without what cannot be meant so."""
    nothing = Ages()
    ages = {}
    for key in sorted(on_disk, key=str):
        own, of_subject = rows.get(key, nothing), rows.get((key[0], None), nothing)
        number = sum(subject == key[0] for subject, _ in on_disk)
        if number > 1 and of_subject.scan is not None and own.scan is None:
            problems.warn(
                scan_id(*key),
                f"has no age of its own, and the subject, with {number} sessions, has one",
                "an age for each session",
                f"{UNKNOWN_AGE}; add a column session_id, or sub-{key[0]}_sessions.tsv",
                "missing-age",
            )
            of_subject = Ages(of_subject.birth)
        found = own.filled(of_subject)
        if found.birth is not None and found.scan is not None and found.scan < found.birth:
            problems.warn(
                scan_id(*key),
                f"was scanned at {found.scan:g} weeks, before its birth at {found.birth:g}",
                "post-menstrual ages of a newborn",
                f"{UNKNOWN_AGE}; correct the table",
                "impossible-age",
            )
            found = Ages(found.birth)
        ages[key] = found
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
    there = set(table[0]) if table else set()
    birth, scan = (next((c for c in cs if c in there), "") for cs in (BIRTH_COLUMNS, SCAN_COLUMNS))
    units = units_of(path, [c for c in (birth, scan) if c], problems)
    session_column = next((c for c in SESSION_COLUMNS if c in there), "")
    for number, row in enumerate(table, start=2):
        name = subject or bare_id(row["participant_id"], "sub-")
        text = bare_id(row.get(session_column, ""), "ses-")
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
        read = []
        for column in (birth, scan):
            unit = units.get(column)
            text = "" if unit is None else row.get(column, "")
            read.append(parse_age(text, f"{where} age", problems, unit or 1.0))
        ages = Ages(*read)
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
