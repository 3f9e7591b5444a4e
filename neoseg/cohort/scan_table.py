"""Read a cohort from a table with one row per scan."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Literal

from neoseg.cohort.ages import MISSING_TEXT, UNKNOWN_AGE, parse_age, units_of
from neoseg.cohort.formats import ENDINGS, ending_of, fault_of
from neoseg.cohort.listed import with_meaning
from neoseg.cohort.participants import (
    BIRTH_COLUMNS,
    SCAN_COLUMNS,
    SESSION_COLUMNS,
    scan_age_column,
    which_age,
)
from neoseg.cohort.reader import Reading, note_unlabelled, reader
from neoseg.cohort.scan import Scan, bare_id, ids_in, require_plain_name, scan_id
from neoseg.cohort.sidecar import Sidecar
from neoseg.cohort.split import SPLITS
from neoseg.cohort.table import Row, read_rows
from neoseg.findings.command_line import override, quoted
from neoseg.findings.problems import CohortError, Problems, shorten
from neoseg.labels import Convention, LabelError, LabelSet, LabelSpace
from neoseg.labels.convention import Meaning

NAMES: Mapping[str, Sequence[str]] = {
    "subject": ("subject", "participant_id"),
    "session": SESSION_COLUMNS,
    "label": ("label",),
    "mask": ("mask",),
    "scan_age": SCAN_COLUMNS,
    "birth_age": BIRTH_COLUMNS,
    "split": ("split",),
    "not_drawn": ("not_drawn",),
}
"""Accepted names of the columns, apart from the modalities; the first that exists is used."""

SEPARATOR = ";"
"""Between the structures of a cell of `not_drawn`."""


@reader("table")
def read_table(
    root: Path,
    space: LabelSpace,
    reading: Reading,
    *,
    columns: Mapping[str | int, str] | None = None,
    convention: Mapping[int, Meaning] | Literal["identity"] | None = None,
) -> tuple[list[Scan], Convention | None]:
    """Read a `.csv` (commas) or `.tsv` (tabs) with `subject` and a column for each modality.

    Optional columns are `session`, `label`, `mask`, `scan_age`, `birth_age` (weeks), `split` and
    `not_drawn`: structures, parted by `;`, that are background in the label file wherever they are.

    `root` is the table; paths in it are relative to its folder. `columns` maps to other column
    names, as in `{subject: ID, T2w: image}`. An empty cell means that the scan lacks the value.
    `split` (train, val, test) is used by the run unless it has a split file. `convention` and the
    other options are those of `read_bids`.
    """
    problems, bad = reading.problems, partial(reading.problems.error, kind="bad-table")
    # On a command line, the key of modality "0" can only be the number.
    named = {str(key): (str(name),) for key, name in (columns or {}).items()}
    unknown = sorted(set(named) - {*NAMES, *reading.modalities})
    if unknown:
        problems.error("columns", f"names {shorten(unknown)}", f"some of {', '.join(NAMES)}")
    rows = read_rows(root, [], problems)
    header = list(rows[0]) if rows else []
    names = {**NAMES, **{name: (name,) for name in reading.modalities}}
    column_of = {
        key: next((n for n in ways if n.casefold() in header), "")
        for key, ways in {**names, **named}.items()
    }
    needed = ["subject", *reading.modalities, *named]
    missing = [
        {**names, **named}[key][0] for key in dict.fromkeys(needed) if not column_of.get(key)
    ]
    if rows and missing:
        found = f"has no column {shorten(missing)}; it has {shorten(sorted(header), 12)}"
        ways = ["add it", "say with cohort.columns={...} what the table calls it"]
        if set(missing) & set(reading.modalities):
            ways.append("with cohort.modalities=[...] which images there are")
        bad(root, found, action=", or ".join(ways))
    elif not rows and not problems.errors:
        problems.error(root, "has no rows", "one for each scan", kind="no-scans")
    reading.settle()
    sidecar = Sidecar.read([root.with_suffix(".json")], problems)
    doubtful = list[str]()
    if "scan_age" not in named:
        column_of["scan_age"], doubtful = scan_age_column(header, sidecar)
    ages = [column_of[key] for key in ("birth_age", "scan_age") if column_of[key]]
    table = _Table(root, column_of, {}, space, problems)
    ids = [table.ids(row) for row in rows]
    sessions = [session for _, session in ids]
    units = units_of(root, [a.casefold() for a in ages], rows, sessions, sidecar, problems)
    if doubtful and units.get(column_of["scan_age"]) is None:
        found = f"has no column scan_age, and {which_age(doubtful)}"
        setting = override("cohort.columns", f"{{scan_age: {quoted(doubtful[0])}}}")
        action = f"if it is the age at the scan, set {setting}"
        problems.warn(root, found, "", f"{UNKNOWN_AGE}; {action}", "missing-age")
    table = replace(table, units=units)
    reading.selection.check([subject for subject, _ in ids if subject], problems)
    selected = [
        (key, row)
        for key, row in zip(ids, rows, strict=True)
        if key[0] and reading.selection.wants(key[0])
    ]
    table.check(selected)
    first = dict(reversed(selected))
    order = sorted(first, key=lambda key: (key[0], key[1] or ""))
    scans = [table.scan(*key, first[key], reading) for key in order]
    kept = [scan for scan in scans if scan is not None]
    note_unlabelled(kept, "label file", problems)
    return with_meaning(kept, space, convention, root.parent, problems)


@dataclass(frozen=True)
class _Table:
    """A table, the name of each of its columns ("" if absent), and the units of its ages."""

    path: Path
    columns: Mapping[str, str]
    units: Mapping[str, float | None]
    space: LabelSpace
    problems: Problems

    def text(self, row: Row, key: str) -> str:
        """Return the text of a cell, "" for a missing value."""
        text = row.get(self.columns[key].casefold(), "")
        return "" if text.casefold() in MISSING_TEXT else text

    def where(self, row: Row, key: str) -> str:
        return f"{self.path}:{row.line}, column {self.columns[key]}"

    def ids(self, row: Row) -> tuple[str, str | None]:
        """Return subject and session of a row; an empty subject if the row cannot be used."""
        subject = bare_id(self.text(row, "subject"), "sub-")
        session = bare_id(self.text(row, "session"), "ses-") or None
        if session is None:
            subject, session = ids_in(subject)
        try:
            require_plain_name(subject, "the subject id")
            if session:
                require_plain_name(session, "the session id")
        except CohortError as error:
            self.problems.error(self.where(row, "subject"), str(error), kind="bad-table")
            return "", None
        return subject, session

    def check(self, rows: Sequence[tuple[tuple[str, str | None], Row]]) -> None:
        """Record errors for scans with two rows, and for subjects in no split or in two."""
        lines: dict[tuple[str, str | None], int] = {}
        splits: dict[str, tuple[str, int]] = {}
        count = Counter(self.text(row, "split").casefold() for _, row in rows)
        for key, row in rows:
            scan_ids = [scan_id(*key)]
            if key in lines:
                found = f"names {scan_ids[0]} again, as line {lines[key]} does"
                action = "delete one, or tell them apart by a column session"
                where = self.where(row, "subject")
                self.problems.error(where, found, "a row a scan", action, "duplicate-row", scan_ids)
            lines.setdefault(key, row.line)
            name = self.text(row, "split").casefold()
            first_split, line = splits.setdefault(key[0], (name, row.line))
            if count[""] < len(rows) and name not in SPLITS:
                found, expected = f"found {name!r}", f"one of {', '.join(SPLITS)}"
                self.problems.error(self.where(row, "split"), found, expected, "", "plan", scan_ids)
            elif first_split != name:
                found = f"found {name!r}, and line {line} has {key[0]} in {first_split!r}"
                expected = "one part for all scans of a subject"
                self.problems.error(self.where(row, "split"), found, expected, "", "plan", scan_ids)

    def scan(self, subject: str, session: str | None, row: Row, reading: Reading) -> Scan | None:
        """Return the scan of a row, None without its first image."""
        name = scan_id(subject, session)
        images = tuple(self._file(row, key, name) for key in reading.modalities)
        if images[0] is None:
            where = self.where(row, reading.modalities[0])
            action = "fill it, or leave the scan out (cohort.exclude)"
            self.problems.error(where, "is empty", "a file", action, "missing-image", [name])
            return None
        return Scan(
            subject=subject,
            session=session,
            images=images,
            label=self._file(row, "label", name),
            mask=self._file(row, "mask", name),
            scan_age=self._age(row, "scan_age"),
            birth_age=self._age(row, "birth_age"),
            cohort=reading.name,
            split=self.text(row, "split").casefold() or None,
            not_drawn=self._leaves(row, "not_drawn", name),
        )

    def _leaves(self, row: Row, key: str, scan: str) -> LabelSet:
        """Return the leaves of the structures that a cell names; record an error for others."""
        names = [name.strip() for name in self.text(row, key).split(SEPARATOR)]
        try:
            return self.space.label_set(filter(None, names))
        except LabelError as error:
            expected = f"names of structures, parted by {SEPARATOR!r}"
            self.problems.error(
                self.where(row, key), str(error), expected, "", "label-meaning", [scan]
            )
            return frozenset()

    def _age(self, row: Row, key: str) -> float | None:
        unit = self.units.get(self.columns[key].casefold())
        text = "" if unit is None else self.text(row, key)
        return parse_age(text, self.where(row, key), self.problems, unit or 1.0)

    def _file(self, row: Row, key: str, scan: str) -> Path | None:
        """Return the file that a cell names; record an error if it cannot be read."""
        text = self.text(row, key)
        if not text:
            return None
        path = self.path.parent / Path(text).expanduser()
        fault, kind = fault_of(path)
        if not ending_of(path.name):
            fault, kind = "is not named like a volume", "not-nifti"
        if fault:
            expected = f"a file that ends in {', '.join(ENDINGS)}"
            action = f"correct the path (it starts from {self.path.parent}), or fetch the file"
            where = self.where(row, key)
            self.problems.error(where, f"{path} {fault}", expected, action, kind, [scan])
        return path
