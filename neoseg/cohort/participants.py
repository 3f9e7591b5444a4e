"""Read the ages of subjects from `participants.tsv` and their session tables."""

import json
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from neoseg.cohort.ages import (
    MISSING_TEXT,
    UNKNOWN_AGE,
    Ages,
    parse_age,
    seem_fetal,
    units_of,
)
from neoseg.cohort.folders import SessionFolder
from neoseg.cohort.scan import bare_id, scan_id
from neoseg.cohort.sidecar import Sidecar, gestational_columns, says_fetal, sidecars_of
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
    """Return the ages of every session on disk.

    `folders`, of which the last is the root, are searched in order for `participants.tsv` and
    `sub-X/sub-X_sessions.tsv`; the first of each is used. A session table takes precedence over
    `participants.tsv`. Rows without files, and files without a row in an existing table, give
    warnings.
    """
    on_disk = {(item.subject, item.session) for item in sessions}
    subjects = sorted({subject for subject, _ in on_disk})
    rows: dict[Key, Ages] = {}
    doubtful: dict[str, str] = {}

    participants = _first_existing(folders, "participants.tsv")
    if participants is None:
        problems.warn(
            "participants.tsv",
            f"is in none of {shorten(folders)}",
            action="ages at birth are not known",
            kind="missing-age",
        )
    else:
        table = read_rows(participants, ["participant_id"], problems)
        sidecar = Sidecar.read(sidecars_of(participants, folders[-1]), problems)
        doubtful |= _add_rows(table, participants, sidecar, None, rows, on_disk, problems)
        _warn_unmatched(participants, {s for s, _ in rows if wanted(s)}, set(subjects), problems)

    for subject in subjects:
        path = _first_existing(folders, f"sub-{subject}/sub-{subject}_sessions.tsv")
        if path is None:
            continue
        own_rows: dict[Key, Ages] = {}
        table = read_rows(path, ["session_id"], problems)
        sidecar = Sidecar.read(sidecars_of(path, folders[-1]), problems)
        doubtful |= _add_rows(table, path, sidecar, subject, own_rows, on_disk, problems)
        _warn_unmatched(
            path,
            {scan_id(*key).removeprefix("sub-") for key in own_rows},
            {scan_id(*key).removeprefix("sub-") for key in on_disk if key[0] == subject},
            problems,
        )
        rows |= {key: ages.filled(rows.get(key, Ages())) for key, ages in own_rows.items()}

    ages = _session_ages(rows, on_disk, problems)
    ageless = sorted(scan_id(*key) for key, age in ages.items() if age.scan is None)
    if ageless:
        found = f"is not known for {len(ageless)} of {len(ages)} scans: {shorten(ageless)}"
        action = "they count as age group 'unknown'"
        if doubtful:
            column, file = next(iter(doubtful.items()))
            entry = json.dumps({column: {"Description": "gestational age at the scan"}})
            found += f"; {which_age(doubtful)}"
            action += "; if it is the age at the scan, call it scan_age, or "
            action += f"write {entry} into {file}"
        problems.warn("scan_age", found, "", action, "missing-age")
    return ages


def scan_age_column(names: Sequence[str], sidecar: Sidecar) -> tuple[str, list[str]]:
    """Return the column with ages at the scan ("" if there is none), and those that may have them.

    A gestational age counts only if the sidecar says that it is the one at the scan.
    """
    known, unknown = gestational_columns(names, sidecar)
    column = next((name for name in (*SCAN_COLUMNS[:-1], *known, "age") if name in names), "")
    return column, unknown if column in ("", "age") else []


def which_age(columns: Iterable[str]) -> str:
    """Say that a column may have ages at the scan."""
    return f"the column {shorten(map(repr, columns))} may be the age at birth or at the scan"


def _session_ages(
    rows: Mapping[Key, Ages], on_disk: Collection[Key], problems: Problems
) -> dict[Key, Ages]:
    """Return the ages of each session from the rows, without implausible ones."""
    unknown = Ages()
    ages = {}
    count = Counter(subject for subject, _ in on_disk)
    for key in sorted(on_disk, key=str):
        of_session, of_subject = rows.get(key, unknown), rows.get((key[0], None), unknown)
        if count[key[0]] > 1 and of_subject.scan is not None and of_session.scan is None:
            problems.warn(
                scan_id(*key),
                f"has no age of its own, and the subject, with {count[key[0]]} sessions, has one",
                "an age for each session",
                f"{UNKNOWN_AGE}; add a column session_id, or sub-{key[0]}_sessions.tsv",
                "missing-age",
            )
            of_subject = Ages(of_subject.birth)
        age = of_session.filled(of_subject)
        ages[key] = replace(age, fetal=age.fetal or says_fetal(key[1] or ""))
    elsewhere = [row for key, row in rows.items() if key[0] not in count]
    doubtful = [key for key, age in ages.items() if age.before_birth and not age.fetal]
    if seem_fetal([*ages.values(), *elsewhere]):
        if doubtful:
            problems.warn(
                "scan_age",
                f"is before birth_age in {len(doubtful)} of {len(ages)} scans: "
                f"{shorten(scan_id(*key) for key in doubtful)}",
                action="they are taken as scans of fetuses; if they are of newborns, exchange the "
                "two columns",
                kind="impossible-age",
            )
        return ages
    for key in doubtful:
        problems.warn(
            scan_id(*key),
            f"was scanned at {ages[key].scan:g} weeks, before its birth at {ages[key].birth:g}",
            "post-menstrual ages of a newborn",
            f"{UNKNOWN_AGE}; correct the table, or, if it is a scan of a fetus, leave out its "
            "birth_age (n/a)",
            "impossible-age",
        )
        ages[key] = Ages(ages[key].birth)
    return ages


def _first_existing(folders: Sequence[Path], name: str) -> Path | None:
    return next((folder / name for folder in folders if (folder / name).is_file()), None)


def _add_rows(
    table: Sequence[Mapping[str, str]],
    path: Path,
    sidecar: Sidecar,
    subject: str | None,
    rows: dict[Key, Ages],
    on_disk: Collection[Key],
    problems: Problems,
) -> dict[str, str]:
    """Add the ages of a table's rows; rows of one scan that differ are an error of that scan.

    Returns the columns that may have ages at the scan, with the files in which that can be said.
    """
    names = list(table[0]) if table else []
    birth = next((column for column in BIRTH_COLUMNS if column in names), "")
    scan, doubtful = scan_age_column(names, sidecar)
    is_fetal = says_fetal(sidecar.text(scan))
    session_column = next((c for c in SESSION_COLUMNS if c in names), "")
    keys = [_key(row, subject, session_column) for row in table]
    only = _only_sessions(on_disk) if subject is None else {}
    sessions = [session or only.get(name) for name, session in keys]
    units = units_of(path, [c for c in (birth, scan) if c], table, sessions, sidecar, problems)
    for number, (row, (name, session)) in enumerate(zip(table, keys, strict=True), start=2):
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
        values = []
        for column in (birth, scan):
            unit = units.get(column)
            text = "" if unit is None else row.get(column, "")
            values.append(parse_age(text, f"{where} age", problems, unit or 1.0))
        ages = Ages(values[0], values[1], is_fetal)
        if (name, session) in rows:
            duplicate = ("one row", "delete one", "duplicate-row")
            affected = [key for key in on_disk if key[0] == name and session in (None, key[1])]
            if rows[name, session] == ages or not affected:
                problems.warn(where, "repeats an earlier row of the same scan", *duplicate)
            else:
                scans = [scan_id(*key) for key in sorted(affected, key=str)]
                found = "contradicts an earlier row of the same scan"
                problems.error(where, found, *duplicate, scans)
        rows.setdefault((name, session), ages)
    return {column: sidecar.file(column) for column in doubtful}


def _key(row: Mapping[str, str], subject: str | None, session_column: str) -> Key:
    """Return subject and session of a row."""
    session = bare_id(row.get(session_column, ""), "ses-")
    name = subject or bare_id(row["participant_id"], "sub-")
    return name, None if session.casefold() in MISSING_TEXT else session


def _only_sessions(on_disk: Collection[Key]) -> dict[str, str | None]:
    """Return the session of each subject that has one alone."""
    count = Counter(name for name, _ in on_disk)
    return {name: session for name, session in on_disk if count[name] == 1}


def _warn_unmatched(path: Path, listed: set[str], on_disk: set[str], problems: Problems) -> None:
    """Warn of rows without files and of files without rows."""
    for unmatched, what, action, kind in (
        (
            listed - on_disk,
            "rows have no files",
            "fetch the files if these scans should take part",
            "row-without-files",
        ),
        (
            on_disk - listed,
            "of the scans on disk have no row",
            "add rows, or their ages stay unknown",
            "files-without-row",
        ),
    ):
        if unmatched:
            names = shorten(sorted(unmatched))
            problems.warn(path, f"{len(unmatched)} {what}: {names}", action=action, kind=kind)
