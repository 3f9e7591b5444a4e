"""The integers and names of structures in the files that other programs keep them in."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from neoseg.cohort.meaning import WHOLE
from neoseg.cohort.nnunet import names_of, regions_of
from neoseg.cohort.table import read_rows
from neoseg.findings.problems import Problems
from neoseg.foreign import ForeignError, read_json, read_text
from neoseg.labels.draft import Named, Region

COLORS = 4
"""Red, green, blue and opacity, which end a line of FreeSurfer's tables."""

_DESCRIBED = "the `labels` that nnU-Net and the Decathlon have"


def read_named(path: Path, problems: Problems) -> tuple[list[Named], list[Region]]:
    """Read names from `dataset.json`, a `dseg.tsv`, or the text of FreeSurfer, Slicer or ITK-SNAP.

    In a text, a line with an integer and a name alone does as well.

    What cannot be read is noted in `problems`, each line of text by its number. What nnU-Net calls
    `ignore` is no structure.
    """
    if path.suffix == ".json":
        return _of_dataset(path, problems)
    found = _of_rows(path, problems) if path.suffix in (".tsv", ".csv") else _of(path, problems)
    first: dict[int, Named] = {}
    for item in found:
        if first.setdefault(item.index, item) != item:
            twice = f"names the integer {item.index} '{first[item.index].name}' and '{item.name}'"
            problems.error(path, twice, "one name", "delete one of them", "duplicate-row")
    return list(first.values()), []


def _of_dataset(path: Path, problems: Problems) -> tuple[list[Named], list[Region]]:
    try:
        return named_labels(read_json(path), path, problems)
    except ForeignError as error:
        problems.error(path, f"cannot be read ({error})", _DESCRIBED, "correct it", "bad-table")
        return [], []


def named_labels(
    described: Any, path: Path, problems: Problems
) -> tuple[list[Named], list[Region]]:
    """Return what the content of a `dataset.json` names; `path` is where it stands."""
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


def _of_rows(path: Path, problems: Problems) -> list[Named]:
    found = []
    for row in read_rows(path, ["index", "name"], problems):
        if WHOLE.fullmatch(row["index"]):
            about = (row["name"], row.get("abbreviation", ""), row.get("color", ""))
            found.append(Named(int(row["index"]), *about))
        else:
            where = f"{path}:{row.line}, column index"
            problems.error(where, f"found {row['index']!r}", "a whole number", kind="bad-table")
    return found


def _of(path: Path, problems: Problems) -> list[Named]:
    try:
        lines = read_text(path).removeprefix("\ufeff").splitlines()
    except ForeignError as error:
        problems.error(path, str(error).removeprefix(f"{path} "), "a table", "", "bad-table")
        return []
    found = []
    for number, line in enumerate(lines, start=1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        item = _of_snap(line) if '"' in line else _of_freesurfer(line) or _of_plain(line)
        if item is None:
            wanted = '`1 Name`, `1 Name 70 130 180 0` (FreeSurfer) or `1 70 130 180 1 1 1 "Name"`'
            problems.error(f"{path}:{number}", "names no structure", wanted, "", "bad-table")
        else:
            found.append(item)
    return found


def _of_freesurfer(line: str) -> Named | None:
    index, *name = line.split()[:-COLORS] or [""]
    numbers = [index, *line.split()[-COLORS:]]
    if not name or not all(map(WHOLE.fullmatch, numbers)):
        return None
    return Named(int(index), " ".join(name), color=_hex(numbers[1:COLORS]))


def _of_plain(line: str) -> Named | None:
    """Read a line such as `1 name`, `1: name` or `1, name`, which does not end in half a colour."""
    found = re.fullmatch(r"\s*(\d+)(?:\s*[,;:=]\s*|\s+)(.*[^\W\d].*?)\s*", line)
    if found is None or re.search(r"\d\s+\d+\s*$", line):
        return None
    return Named(int(found[1]), found[2])


def _of_snap(line: str) -> Named | None:
    numbers, _, rest = line.partition('"')
    cells, name = numbers.split(), rest.rpartition('"')[0]
    if len(cells) != 7 or not all(map(WHOLE.fullmatch, cells[:4])) or not name.strip():
        return None
    return Named(int(cells[0]), name.strip(), color=_hex(cells[1:4]))


def _hex(numbers: list[str]) -> str:
    return "#" + "".join(f"{min(max(int(n), 0), 255):02x}" for n in numbers)
