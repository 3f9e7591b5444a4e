"""The names of segments that 3D Slicer writes into its `.seg.nrrd` label files.

Slicer numbers segments in the order in which they were drawn, so each file has integers of its own.
The fields are `Segment<n>_Name` and `Segment<n>_LabelValue` (Slicer's documentation of segmentation
file formats).
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from neoseg.cohort.meaning import from_rows, has_name
from neoseg.cohort.scan import Scan
from neoseg.findings.problems import Problems, shorten
from neoseg.foreign import ForeignError, opened
from neoseg.labels import Convention, LabelSpace

ENDING = ".nrrd"

MAX_HEADER_BYTES, MAX_BYTES = 2**20, 2**40

_FIELD = re.compile(r"^Segment(\d{1,5})_(Name|LabelValue):=(.*)$", re.MULTILINE)


def segments_of(path: Path) -> list[tuple[str, str]]:
    """Return integers and their names by the header of a label file; empty if it has none."""
    if path.suffix.lower() != ENDING:
        return []
    try:
        with opened(path, MAX_BYTES) as stream:
            head = stream.read(MAX_HEADER_BYTES)
    except ForeignError:
        return []  # reported where the file is read
    if not head.startswith(b"NRRD000"):
        return []
    text = re.split(rb"\r?\n\r?\n", head, maxsplit=1)[0].decode("utf-8", "replace")
    fields = {(number, key): value.strip() for number, key, value in _FIELD.findall(text)}
    pairs = ((fields.get((n, "LabelValue")), fields.get((n, "Name"))) for n, _ in fields)
    return list(dict.fromkeys((value, name) for value, name in pairs if value and name))


def with_segments(
    scans: Sequence[Scan],
    space: LabelSpace,
    given: Mapping[Any, Any] | str | None,
    convention: Convention | None,
    problems: Problems,
) -> list[Scan]:
    """Return the scans whose label files name their segments with the meaning of these names.

    Files in which no name is known, such as "Segment_1", follow the convention of the cohort.

    Args:
        scans: of a cohort.
        space: label space whose names the files may use.
        given: the convention that the user gives, if any; it counts, and a file that contradicts it
            is an error.
        convention: of the cohort, None after errors.
        problems: collects files with some names that the label table lacks.
    """
    named = []
    for scan in scans:
        if given is not None and convention is not None and scan.label is not None:
            _check_given(scan, scan.label, convention, problems)
        own = None
        if given is None and scan.label is not None:
            own = convention_in(space, scan.label, problems, [scan.id])
        named.append(scan if own is None else replace(scan, own_convention=own))
    return named


def convention_in(
    space: LabelSpace, path: Path, problems: Problems, scans: Sequence[str] = ()
) -> Convention | None:
    """Return the meaning of integers by the names in a label file; None if it names none.

    Problems with the names are errors of `scans`.
    """
    segments = segments_of(path)
    if not any(has_name(space, name) for _, name in segments):
        return None
    rows = [{"index": value, "name": name} for value, name in segments]
    if all(value != "0" for value, _ in segments):
        rows.append({"index": "0", "name": space.leaves[space.background].abbreviation})
    return from_rows(space, path, rows, problems, scans)


def _check_given(scan: Scan, path: Path, convention: Convention, problems: Problems) -> None:
    """Record names that contradict the convention: neither a part nor a whole of what it says.

    It may take any structure for background.
    """
    space = convention.space
    meant = dict(zip(map(str, convention.values), convention.sets, strict=True))
    differing = [
        f"{value} is {name}"
        for value, name in segments_of(path)
        if has_name(space, name)
        and value in meant
        and space.background not in meant[value]
        and meant[value].isdisjoint(space.label_set(name))
    ]
    if differing:
        problems.error(
            path,
            f"names its segments so that {shorten(differing, 4)}, unlike cohort.convention",
            "one meaning",
            "leave cohort.convention null, by which each file counts as it names its segments; or "
            "correct the names",
            "label-tables",
            [scan.id],
        )
