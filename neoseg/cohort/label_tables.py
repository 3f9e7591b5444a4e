"""What the integers of BIDS label files mean by the tables of names that lie with them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from neoseg.cohort.meaning import from_names, resolve
from neoseg.findings.command_line import override
from neoseg.findings.problems import Problems, shorten
from neoseg.foreign import ForeignError, read_bytes
from neoseg.labels import Convention, LabelSet, LabelSpace
from neoseg.labels.convention import Meaning

GUESSED = "guessed-meaning"
"""Kind of the finding that nobody said what the integers mean."""

TABLES = "label-tables"

_ONE = "set cohort.convention to what holds for all, or read them as two cohorts (extra_cohorts)"


def convention_of(
    space: LabelSpace,
    convention: Mapping[int, Meaning] | str | None,
    labels: Mapping[str, Path],
    root: Path,
    problems: Problems,
) -> Convention | None:
    """Settle what the integers mean: the user's word, else that of the tables, as `from_tables`."""
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
    """Settle the meaning of a cohort's integers by the table that is nearest to each label file.

    Tables that say different things of one integer are noted: an error of the scans with the rarer
    one, a warning where a nearer table hides a farther one. Label files that no table covers get
    the meaning of the other ones, or that the integers are the indices of the space, with a warning
    of the kind `GUESSED`. Errors about the tables themselves give None.

    Args:
        space: whose names the tables use.
        labels: the label file of each scan, by the scan's id.
        root: of the data set, where inheritance ends.
        problems: collects what is found.
    """
    listed: dict[Path, list[Path]] = {}
    tables = {scan: list(tables_of(path, root, listed)) for scan, path in labels.items()}
    groups: dict[bytes, tuple[Path, list[str]]] = {}
    for scan, (nearest, *_) in ((s, found) for s, found in tables.items() if found):
        groups.setdefault(_content(nearest), (nearest, []))[1].append(scan)
    meaning: dict[int, LabelSet] = {}
    said_by: dict[int, Path] = {}
    good = True
    for path, scans in sorted(groups.values(), key=lambda group: -len(group[1])):
        own = from_names(space, path, problems)
        if own is None:
            good = False
            continue
        found = dict(zip(own.values, own.sets, strict=True))
        odd = [value for value in found if meaning.get(value, found[value]) != found[value]]
        if odd:
            said = _difference(own, Convention(space, *_sorted(meaning)), odd, said_by[odd[0]])
            problems.error(path, said, "one meaning in a cohort", _ONE, TABLES, scans)
            continue
        meaning |= found
        said_by |= {value: said_by.get(value, path) for value in found}
    if not good:
        return None
    _note_hidden(space, list(tables.values()), problems)
    if meaning:
        # What a table of names leaves out.
        meaning.setdefault(0, frozenset([space.background]))
    known = Convention(space, *_sorted(meaning)) if meaning else Convention.identity(space)
    bare = [scan for scan, found in tables.items() if not found]
    if bare:
        _note_guess(known, bare, len(labels), min(said_by.values(), default=None), root, problems)
    return known


def tables_of(path: Path, root: Path, listed: dict[Path, list[Path]]) -> Iterator[Path]:
    """Yield the tables that BIDS inheritance gives a label file below `root`, nearest first.

    They lie in its folder or above, end in its suffix and have no part in their names that its
    own name lacks; of several in one folder the one with most parts is the nearest. `listed`
    remembers the tables of each folder.
    """
    *parts, suffix = path.name.split(".")[0].split("_")
    folder = path.parent
    for place in (folder, *folder.parents):
        if place not in listed:
            listed[place] = sorted(place.glob("*.tsv"))
        found = [table for table in listed[place] if _covers(table, parts, suffix)]
        yield from sorted(found, key=lambda table: -table.name.count("_"))
        if place == root:
            return


def _covers(table: Path, parts: Sequence[str], suffix: str) -> bool:
    *own, last = table.name.removesuffix(".tsv").split("_")
    return last == suffix and set(own) <= set(parts)


def _content(table: Path) -> bytes:
    try:
        return read_bytes(table)
    except ForeignError:
        return str(table).encode()  # `from_names` says what is wrong with it


def _sorted(meaning: Mapping[int, LabelSet]) -> tuple[tuple[int, ...], tuple[LabelSet, ...]]:
    values = tuple(sorted(meaning))
    return values, tuple(meaning[value] for value in values)


def _difference(one: Convention, other: Convention, odd: Sequence[int], source: Path) -> str:
    said = [
        f"{value} is {one.name(one.values.index(value))}, not "
        f"{other.name(other.values.index(value))}"
        for value in odd
    ]
    return f"says that {shorten(said, 4)} as {source} has it"


def _note_hidden(space: LabelSpace, tables: Sequence[Sequence[Path]], problems: Problems) -> None:
    """Warn of tables that say something else than a nearer one which counts in their place."""
    seen: set[tuple[bytes, bytes]] = set()
    for near, far in ((found[0], table) for found in tables for table in found[1:]):
        pair = (_content(near), _content(far))
        if pair in seen:
            continue
        seen.add(pair)
        # Whatever else may be wrong with the farther table, it is not used.
        one, other = (from_names(space, table, Problems()) for table in (near, far))
        if one is None or other is None:
            continue
        said = dict(zip(other.values, other.sets, strict=True))
        odd = [v for v, s in zip(one.values, one.sets, strict=True) if said.get(v, s) != s]
        if odd:
            problems.warn(
                near,
                _difference(one, other, odd, far),
                "one meaning in a data set",
                "the table nearest to the label file counts; correct the wrong one",
                TABLES,
            )


def _note_guess(
    known: Convention,
    bare: Sequence[str],
    number: int,
    source: Path | None,
    root: Path,
    problems: Problems,
) -> None:
    line = override("cohort.convention", known.written())
    taken = f"what {source} says" if source else f"the indices of label table '{known.space.name}'"
    settle = f"if that is right, set {line if source else 'cohort.convention=identity'}"
    problems.warn(
        root,
        f"has no table of names (dseg.tsv) for {len(bare)} of {number} label files "
        f"({shorten(bare, 4)}), whose integers are taken for {taken}",
        "a dseg.tsv with the columns index and name, beside the label files or above",
        settle if source else f"{settle}; else say what each of them means, as in {line}",
        GUESSED,
    )
