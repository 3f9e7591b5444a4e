"""Read the integers and names of structures from label tables of other programs."""

import re
from pathlib import Path
from typing import Any

from neoseg.cohort.meaning import WHOLE
from neoseg.cohort.nnunet import names_of, regions_of
from neoseg.cohort.table import Row, read_rows
from neoseg.findings.problems import Problems
from neoseg.foreign import ForeignError, read_json, read_text
from neoseg.labels.draft import Named, Region

_PARENTS = ("parent_structure_id", "parent_id", "parent")
"""Columns of atlases for the structure that a structure is part of."""

_ATLAS = {"id": "index", "acronym": "abbreviation", "color_hex_triplet": "color"}
"""Columns of the Allen Institute's and BrainGlobe's atlases, and what BIDS calls them."""

COLOR_COLUMNS = 4
"""Red, green, blue and opacity, at the end of a line of FreeSurfer's tables."""

_DESCRIBED = "the `labels` that nnU-Net and the Decathlon have"


def read_named(path: Path, problems: Problems) -> tuple[list[Named], list[Region]]:
    """Read names from `dataset.json`, a `dseg.tsv`, or text of FreeSurfer, Slicer or ITK-SNAP.

    Lines of text with only an integer and a name are accepted as well. A structure of a table in
    which others name it as their parent is a region, too. Errors are recorded in `problems`, by
    line number for text. nnU-Net's `ignore` label is not a structure.
    """
    if path.suffix == ".json":
        return _read_dataset(path, problems)
    parents = dict[int, int]()
    entries = (
        _read_table(path, parents, problems)
        if path.suffix in (".tsv", ".csv")
        else _read_text(path, problems)
    )
    first: dict[int, Named] = {}
    for item in entries:
        if first.setdefault(item.index, item) != item:
            conflict = (
                f"names the integer {item.index} '{first[item.index].name}' and '{item.name}'"
            )
            problems.error(path, conflict, "one name", "delete one of them", "duplicate-row")
    return list(first.values()), _regions(first, parents, path, problems)


def _regions(
    named: dict[int, Named], parents: dict[int, int], path: Path, problems: Problems
) -> list[Region]:
    """Return each structure that has parts, with all that is below it and itself."""
    members: dict[int, list[int]] = {parent: [parent] for parent in parents.values()}
    for index in parents:
        above, seen = parents.get(index), {index}
        while above is not None and above not in seen:
            members[above].append(index)
            seen.add(above)
            above = parents.get(above)
        if above is not None:
            circle = f"has {index} above itself (column {', '.join(_PARENTS)})"
            problems.error(path, circle, "parents without a circle", kind="bad-table")
            return []
    return [
        Region(named[index].name, tuple(parts), named[index].abbreviation, index)
        for index, parts in members.items()
        if index in named
    ]


def _read_dataset(path: Path, problems: Problems) -> tuple[list[Named], list[Region]]:
    try:
        return named_labels(read_json(path), path, problems)
    except ForeignError as error:
        problems.error(path, f"cannot be read ({error})", _DESCRIBED, "correct it", "bad-table")
        return [], []


def named_labels(
    described: Any, path: Path, problems: Problems
) -> tuple[list[Named], list[Region]]:
    """Return the structures and regions in the content of a `dataset.json` read from `path`."""
    try:
        labels = described["labels"]
        names, regions = names_of(labels), regions_of(labels)
    except (TypeError, KeyError, AttributeError) as error:
        problems.error(path, f"cannot be read ({error})", _DESCRIBED, "correct it", "bad-table")
        return [], []
    for integer, name in names.items():
        if not (isinstance(integer, int) and isinstance(name, str | None)):
            found = f"has the label {integer!r}: {name!r}"
            problems.error(path, found, "a name and a whole number", kind="bad-table")
    if problems.errors:
        return [], []
    parts = sorted({i for members in regions.values() for i in members} - set(names))
    named = [Named(i, name) for i, name in names.items() if name is not None]
    named += [Named(i, f"Part {i}") for i in parts]
    return named, [Region(name, members) for name, members in regions.items()]


def _read_table(path: Path, parents: dict[int, int], problems: Problems) -> list[Named]:
    entries = []
    for row in _rows(path, problems):
        if WHOLE.fullmatch(row["index"]):
            texts = (row["name"], row.get("abbreviation", ""), row.get("color", ""))
            entries.append(Named(int(row["index"]), *texts))
            parent = next((row[column] for column in _PARENTS if row.get(column)), "")
            if WHOLE.fullmatch(parent := parent.removesuffix(".0")) and parent != row["index"]:
                parents[int(row["index"])] = int(parent)
        else:
            where = f"{path}:{row.line}, column index"
            problems.error(where, f"found {row['index']!r}", "a whole number", kind="bad-table")
    return entries


def _rows(path: Path, problems: Problems) -> list[Row]:
    atlas = read_rows(path, ["id", "name"], Problems())
    if not atlas or "index" in atlas[0]:
        return read_rows(path, ["index", "name"], problems)
    for row in atlas:
        row |= {ours: row.get(theirs, "") for theirs, ours in _ATLAS.items()}
        row["color"] = f"#{row['color'].removeprefix('#')}"
    return atlas


def _read_text(path: Path, problems: Problems) -> list[Named]:
    try:
        lines = read_text(path).removeprefix("\ufeff").splitlines()
    except ForeignError as error:
        problems.error(path, str(error).removeprefix(f"{path} "), "a table", "", "bad-table")
        return []
    entries = []
    for number, line in enumerate(lines, start=1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        entry = _parse_snap(line) if '"' in line else _parse_freesurfer(line) or _parse_plain(line)
        if entry is None:
            expected = '`1 Name`, `1 Name 70 130 180 0` (FreeSurfer) or `1 70 130 180 1 1 1 "Name"`'
            problems.error(f"{path}:{number}", "names no structure", expected, "", "bad-table")
        else:
            entries.append(entry)
    return entries


def _parse_freesurfer(line: str) -> Named | None:
    index, *name = line.split()[:-COLOR_COLUMNS] or [""]
    numbers = [index, *line.split()[-COLOR_COLUMNS:]]
    if not name or not all(map(WHOLE.fullmatch, numbers)):
        return None
    return Named(int(index), " ".join(name), color=_hex(numbers[1:COLOR_COLUMNS]))


def _parse_plain(line: str) -> Named | None:
    """Read a line such as `1 name`, `1: name` or `1, name`, unless it ends in part of a colour."""
    match = re.fullmatch(r"\s*(\d+)(?:\s*[,;:=]\s*|\s+)(.*[^\W\d].*?)\s*", line)
    if match is None or re.search(r"\d\s+\d+\s*$", line):
        return None
    return Named(int(match[1]), match[2])


def _parse_snap(line: str) -> Named | None:
    numbers, _, rest = line.partition('"')
    cells, name = numbers.split(), rest.rpartition('"')[0]
    if len(cells) != 7 or not all(map(WHOLE.fullmatch, cells[:4])) or not name.strip():
        return None
    return Named(int(cells[0]), name.strip(), color=_hex(cells[1:4]))


def _hex(numbers: list[str]) -> str:
    return "#" + "".join(f"{min(max(int(n), 0), 255):02x}" for n in numbers)
