"""Derive the meaning of integers in BIDS label files from the `dseg.tsv` tables beside them."""

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from neoseg.cohort.meaning import from_names, resolve
from neoseg.cohort.segments import convention_in
from neoseg.findings.command_line import override
from neoseg.findings.problems import Problems, shorten
from neoseg.foreign import ForeignError, read_bytes
from neoseg.labels import Convention, LabelSet, LabelSpace
from neoseg.labels.convention import Meaning

GUESSED = "guessed-meaning"
"""Kind of the problem that nothing defines the integers of some label files."""

CONTRADICTION = "label-tables"
"""Kind of the problem that tables of names contradict each other."""

_UNIFY = "set cohort.convention to what holds for all, or read them as two cohorts (extra_cohorts)"


def convention_of(
    space: LabelSpace,
    convention: Mapping[int, Meaning] | str | None,
    labels: Mapping[str, Path],
    root: Path,
    problems: Problems,
) -> Convention | None:
    """Return the convention that the user gives, else that of the tables (see `from_tables`)."""
    if isinstance(convention, Mapping):
        return resolve(space, convention, "convention", problems)
    if convention == "identity":
        return Convention.identity(space)
    if convention is not None:
        problems.error("convention", f"found {convention!r}", "a mapping, 'identity' or null")
        return None
    return from_tables(space, labels, root, problems)


def from_tables(
    space: LabelSpace, labels: Mapping[str, Path], root: Path, problems: Problems
) -> Convention | None:
    """Return the convention of a cohort, by the table that is nearest to each label file.

    If tables define an integer differently, the scans with the less frequent table get an error; if
    a nearer table overrides a farther one, there is a warning. Label files without a table get the
    convention of the others, else the identity (integers are the indices of the space), with a
    warning of the kind `GUESSED`. Returns None if a table itself has errors.

    Args:
        space: label space whose names the tables use.
        labels: label file of each scan, by scan id.
        root: root of the data set, where inheritance ends.
        problems: collects the problems.
    """
    listed: dict[Path, list[Path]] = {}
    tables = {scan: list(tables_of(path, root, listed)) for scan, path in labels.items()}
    groups: dict[bytes, tuple[Path, list[str]]] = {}
    for scan, (nearest, *_) in ((s, paths) for s, paths in tables.items() if paths):
        groups.setdefault(content_of(nearest), (nearest, []))[1].append(scan)
    meaning: dict[int, LabelSet] = {}
    source_of: dict[int, Path] = {}
    valid = True
    for path, scans in sorted(groups.values(), key=lambda group: -len(group[1])):
        candidate = from_names(space, path, problems)
        if candidate is None:
            valid = False
            continue
        entries = dict(zip(candidate.values, candidate.sets, strict=True))
        conflicts = [v for v in entries if meaning.get(v, entries[v]) != entries[v]]
        if conflicts:
            text = _difference(
                candidate, Convention(space, *_items(meaning)), conflicts, source_of[conflicts[0]]
            )
            problems.error(path, text, "one meaning in a cohort", _UNIFY, CONTRADICTION, scans)
            continue
        meaning |= entries
        source_of |= {value: source_of.get(value, path) for value in entries}
    if not valid:
        return None
    _warn_overridden(space, tables, problems)
    _warn_elsewhere({s: paths[0] for s, paths in tables.items() if paths}, labels, root, problems)
    if meaning:
        # Tables of names often leave out the background.
        meaning.setdefault(0, frozenset([space.background]))
    convention = Convention(space, *_items(meaning)) if meaning else Convention.identity(space)
    without_table = [
        scan
        for scan, paths in tables.items()
        if not paths and convention_in(space, labels[scan], Problems()) is None
    ]
    if without_table:
        _warn_guessed(
            convention,
            without_table,
            len(labels),
            min(source_of.values(), default=None),
            root,
            problems,
        )
    return convention


def tables_of(path: Path, root: Path, listed: dict[Path, list[Path]]) -> Iterator[Path]:
    """Yield the tables that apply to a label file by BIDS inheritance, nearest first, up to `root`.

    A table applies if it is in the file's folder or above, has the same suffix, and has no entity
    that the file's name lacks; of several in one folder, the one with most entities is the nearest.
    `listed` caches the tables of each folder.
    """
    *entities, suffix = path.name.split(".")[0].split("_")
    folder = path.parent
    for directory in (folder, *folder.parents):
        if directory not in listed:
            listed[directory] = sorted(directory.glob("*.tsv"))
        applicable = [table for table in listed[directory] if _covers(table, entities, suffix)]
        yield from sorted(applicable, key=lambda table: -table.name.count("_"))
        if directory == root:
            return


def _covers(table: Path, entities: Sequence[str], suffix: str) -> bool:
    *table_entities, table_suffix = table.name.removesuffix(".tsv").split("_")
    return table_suffix == suffix and set(table_entities) <= set(entities)


def content_of(table: Path) -> bytes:
    """Return the bytes of a table, by which equal ones are recognised."""
    try:
        return read_bytes(table)
    except ForeignError:
        return str(table).encode()  # `from_names` reports the error


def _items(meaning: Mapping[int, LabelSet]) -> tuple[tuple[int, ...], tuple[LabelSet, ...]]:
    """Return the integers, sorted, and their label sets."""
    values = tuple(sorted(meaning))
    return values, tuple(meaning[value] for value in values)


def _difference(
    convention: Convention, other: Convention, values: Sequence[int], source: Path
) -> str:
    differences = [
        f"{value} is {convention.name(convention.values.index(value))}, not "
        f"{other.name(other.values.index(value))}"
        for value in values
    ]
    return f"says that {shorten(differences, 4)} as {source} has it"


def _warn_overridden(
    space: LabelSpace, tables: Mapping[str, Sequence[Path]], problems: Problems
) -> None:
    """Warn of tables that contradict a nearer one, which overrides them; of one rank, none does."""
    scans_of: dict[tuple[bytes, bytes, bool], list[str]] = {}
    first: dict[tuple[bytes, bytes, bool], tuple[Path, Path]] = {}
    for scan, (near, *others) in ((s, paths) for s, paths in tables.items() if paths):
        for far in others:
            alike = near.parent == far.parent and near.name.count("_") == far.name.count("_")
            pair = (content_of(near), content_of(far), alike)
            scans_of.setdefault(pair, []).append(scan)
            first.setdefault(pair, (near, far))
    for pair, (near, far) in first.items():
        # Other problems of the farther table do not matter, as it is not used.
        near_meaning, far_meaning = (from_names(space, table, Problems()) for table in (near, far))
        if near_meaning is None or far_meaning is None:
            continue
        far_sets = dict(zip(far_meaning.values, far_meaning.sets, strict=True))
        conflicts = [
            v
            for v, s in zip(near_meaning.values, near_meaning.sets, strict=True)
            if far_sets.get(v, s) != s
        ]
        if not conflicts:
            continue
        if pair[-1]:
            problems.error(
                near,
                _difference(near_meaning, far_meaning, conflicts, far),
                "one table for a label file in a folder, or one meaning",
                "correct or delete one of them, or set cohort.convention to what holds",
                CONTRADICTION,
                scans_of[pair],
            )
        else:
            problems.warn(
                near,
                _difference(near_meaning, far_meaning, conflicts, far),
                "one meaning in a data set",
                "the table nearest to the label file counts; correct the wrong one",
                CONTRADICTION,
            )


def _warn_elsewhere(
    tables: Mapping[str, Path], labels: Mapping[str, Path], root: Path, problems: Problems
) -> None:
    """Warn of tables above label files that lie elsewhere than the cohort does."""
    scans: dict[Path, list[str]] = {}
    for scan, table in tables.items():
        beside = table.parent == labels[scan].parent
        if not beside and Path(os.path.abspath(root)) not in Path(os.path.abspath(table)).parents:
            scans.setdefault(table, []).append(scan)
    for table, names in scans.items():
        problems.warn(
            table,
            f"says what the integers of {len(names)} label files mean that lie outside {root}",
            "a table beside the label files, or a cohort in one folder",
            "if it is of another data set, set cohort.convention to what holds",
            CONTRADICTION,
        )


def _warn_guessed(
    convention: Convention,
    without_table: Sequence[str],
    number: int,
    source: Path | None,
    root: Path,
    problems: Problems,
) -> None:
    setting = override("cohort.convention", convention.written())
    assumption = (
        f"what {source} says" if source else f"the indices of label table '{convention.space.name}'"
    )
    advice = f"if that is right, set {setting if source else 'cohort.convention=identity'}"
    problems.warn(
        root,
        f"has no table of names (dseg.tsv) for {len(without_table)} of {number} label files "
        f"({shorten(without_table, 4)}), whose integers are taken for {assumption}",
        "a dseg.tsv with the columns index and name, beside the label files or above",
        advice if source else f"{advice}; else say what each of them means, as in {setting}",
        GUESSED,
    )
