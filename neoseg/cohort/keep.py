"""Keep the scans for which a column of a data set's tables has one of some values."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from neoseg.cohort.ages import MISSING_TEXT
from neoseg.cohort.folders import PIPELINE_FOLDERS
from neoseg.cohort.participants import SESSION_COLUMNS
from neoseg.cohort.scan import Scan, bare_id, ids_in
from neoseg.cohort.table import Row, read_rows
from neoseg.findings.markup import NUMBER
from neoseg.findings.nearest import nearest
from neoseg.findings.problems import Problems, shorten

IDS = ("subject", "participant_id")

Key = tuple[str, str | None]


def keep_scans(
    scans: Sequence[Scan],
    root: Path,
    keep: Mapping[str, Sequence[str]],
    problems: Problems,
    columns: Mapping[str | int, str] | None = None,
) -> list[Scan]:
    """Return the scans that have one of the values in every column that is named.

    Tables are `root` itself if it is one, else `participants.tsv` and `sub-X/sub-X_sessions.tsv` at
    the places where a dHCP tree or a BIDS data set has them; what a session's own row says goes
    before what that of its subject does. Texts count, regardless of case, and 1 is 1.0. Scans with
    another value are left out with a warning for each column, as are scans without any.

    Args:
        scans: of a cohort.
        root: of the cohort: a folder, or a table with a row a scan.
        keep: accepted texts by column.
        problems: collects the warnings; a column that no table has is an error.
        columns: what a table `root` calls `subject` and `session`, if otherwise.
    """
    values: dict[str, dict[Key, str]] = {}
    tables = [*_tables(root, sorted({scan.subject for scan in scans}))]
    for path, subject in tables:
        for row in read_rows(path, [], problems):
            key = _key(row, subject, columns or {})
            for column, text in row.items():
                if text.casefold() not in MISSING_TEXT:
                    values.setdefault(column, {}).setdefault(key, text)
    kept = list(scans)
    for column, accepted in keep.items():
        of_scan = values.get(column.casefold())
        if of_scan is None:
            places = shorten(dict.fromkeys(path.name for path, _ in tables), 3)
            known = sorted(set(values) - {*IDS, *SESSION_COLUMNS})
            has = f"{places} without it" if tables else "no table of participants or sessions"
            found = f"names the column {column!r}, and {root} has {has}"
            problems.error("keep", found, action=f"correct it{nearest(column, known)}")
            continue
        wanted = set(map(_comparable, accepted))
        told = {
            scan.id: of_scan.get((scan.subject, scan.session), of_scan.get((scan.subject, None)))
            for scan in kept
        }
        without = [scan.id for scan in kept if told[scan.id] is None]
        others = [name for name, text in told.items() if text and _comparable(text) not in wanted]
        another, unknown = f"another {column} than {shorten(accepted)}", f"no known {column}"
        for ids, what in ((others, another), (without, unknown)):
            if ids:
                found = f"{len(ids)} scans have {what} and are left out: {shorten(ids)}"
                action = "change cohort.keep, or complete the tables, if they should take part"
                problems.warn("filters", found, "", action, "left-out")
        kept = [scan for scan in kept if scan.id not in {*others, *without}]
    if scans and not kept:
        found = f"leaves none of the {len(scans)} scans"
        problems.error("keep", found, action="name other values", kind="no-scans")
    return kept


def _tables(root: Path, subjects: Sequence[str]) -> Iterator[tuple[Path, str | None]]:
    """Yield the tables, those of a subject's sessions with the subject, and before the others."""
    if root.is_file():
        yield root, None
        return
    folders = [root / folder for folder in PIPELINE_FOLDERS]
    names = [(f"sub-{subject}/sub-{subject}_sessions.tsv", subject) for subject in subjects]
    for name, subject in [*names, ("participants.tsv", None)]:
        yield from [(f / name, subject) for f in folders if (f / name).is_file()][:1]


def _comparable(text: str) -> str:
    return f"{float(text):g}" if NUMBER.fullmatch(text) else text.casefold()


def _key(row: Row, subject: str | None, columns: Mapping[str | int, str]) -> Key:
    """Return subject and session of a row, the session None if it is about all of them."""
    ids, sessions = (
        (columns[key].casefold(),) if key in columns else usual
        for key, usual in (("subject", IDS), ("session", SESSION_COLUMNS))
    )
    name = subject or bare_id(next((row[column] for column in ids if column in row), ""), "sub-")
    text = bare_id(next((row[column] for column in sessions if column in row), ""), "ses-")
    session = None if text.casefold() in MISSING_TEXT else text
    return (name, session) if session or subject else ids_in(name)
