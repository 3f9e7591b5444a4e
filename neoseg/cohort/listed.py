"""The integers that the nearest table of names lists for each label file.

A cohort has one convention, of all its tables together. An integer that only the tables of other
label files list must not lend its meaning to a file that has a table of its own without it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from neoseg.cohort.label_tables import content_of, convention_of, tables_of
from neoseg.cohort.meaning import WHOLE
from neoseg.cohort.scan import Scan
from neoseg.cohort.table import read_rows
from neoseg.findings.problems import Problems
from neoseg.labels import Convention, LabelSpace
from neoseg.labels.convention import Meaning


def with_meaning(
    scans: Sequence[Scan],
    space: LabelSpace,
    convention: Mapping[int, Meaning] | str | None,
    root: Path,
    problems: Problems,
) -> tuple[list[Scan], Convention | None]:
    """Return the scans, with the integers that their own tables list, and their convention.

    Args:
        scans: of a cohort.
        space: label space whose names are used.
        convention: that the user gives, None for that of the tables.
        root: of the data set with the label files, where inheritance ends.
        problems: collects the problems, see `convention_of`.
    """
    labels = {scan.id: scan.label for scan in scans if scan.label is not None}
    meaning = convention_of(space, convention, labels, root, problems)
    return _with_listed(scans, root) if convention is None else list(scans), meaning


def _with_listed(scans: Sequence[Scan], root: Path) -> list[Scan]:
    """Return the scans with the integers that their own tables list, if others list more.

    Args:
        scans: of a cohort whose convention comes from tables.
        root: of the data set, where inheritance ends.
    """
    folders: dict[Path, list[Path]] = {}
    of_table: dict[bytes, frozenset[int]] = {}
    listed: dict[str, frozenset[int]] = {}
    for scan in scans:
        nearest = None if scan.label is None else next(tables_of(scan.label, root, folders), None)
        if nearest is not None:
            content = content_of(nearest)
            if content not in of_table:
                of_table[content] = _integers_of(nearest)
            listed[scan.id] = of_table[content]
    everything = frozenset[int]().union(*listed.values())
    return [
        replace(scan, listed=listed[scan.id])
        if listed.get(scan.id, everything) < everything
        else scan
        for scan in scans
    ]


def _integers_of(table: Path) -> frozenset[int]:
    """Return the integers of a table, and 0, which is often left out."""
    rows = read_rows(table, ["index"], Problems())
    return frozenset({0, *(int(row["index"]) for row in rows if WHOLE.fullmatch(row["index"]))})
