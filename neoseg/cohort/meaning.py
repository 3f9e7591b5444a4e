"""Build conventions: the meaning of the integers of a cohort's label files in a label space."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from neoseg.cohort.table import read_rows
from neoseg.findings.problems import Problems, shorten
from neoseg.labels import Convention, LabelError, LabelSpace
from neoseg.labels.convention import Meaning

KIND = "label-meaning"
"""Kind of the problems found here."""

BACKGROUNDS = frozenset(["background", "bg", "clear", "clear label", "unknown", "none", "outside"])
"""Names of integer 0 that mean the background, in small letters."""

UNKNOWN = "unknown"
"""Name of an integer that tells nothing, in small letters."""

WHOLE = re.compile(r"[+-]?\d{1,10}", re.ASCII)
"""Text of a whole number."""


def resolve(
    space: LabelSpace, mapping: Mapping[Any, Meaning], where: object, problems: Problems
) -> Convention | None:
    """Build a convention from `{integer: leaf, class, list of these, or None}`.

    Returns None after errors; every name that the table lacks is recorded in `problems`.
    """
    whole: dict[int, Meaning] = {}
    valid = True
    for value, meaning in mapping.items():
        # Keys from a command line or JSON are strings; int() accepts more than plain numbers.
        if not WHOLE.fullmatch(str(value)) or int(value) in whole:
            why = "twice" if WHOLE.fullmatch(str(value)) else ""
            problems.error(
                where,
                f"has the key {value!r} {why}".strip(),
                "the whole numbers of the label files, each once",
                kind=KIND,
            )
            valid = False
            continue
        whole[int(value)] = meaning
        names = [] if meaning is None else [meaning] if isinstance(meaning, int | str) else meaning
        for name in names:
            try:
                space.label_set(name)
            except LabelError as error:
                at = f"{where}, value {value}"
                problems.error(at, str(error), action=_expected_names(space), kind=KIND)
                valid = False
    if not valid:
        return None
    try:
        return Convention.from_mapping(space, whole)
    except LabelError as error:
        problems.error(where, str(error), kind=KIND)
        return None


def integer_keys(mapping: Mapping[Any, Meaning]) -> dict[Any, Meaning]:
    """Return the mapping with numeric strings among its keys converted to integers."""
    return {int(k) if WHOLE.fullmatch(str(k)) else k: value for k, value in mapping.items()}


def from_names(space: LabelSpace, path: Path, problems: Problems) -> Convention | None:
    """Match the names (else abbreviations) of a `dseg.tsv` with the leaves and classes of a space.

    Returns None after errors; all names without a match are listed in one problem.
    """
    errors_before = len(problems.errors)
    rows = read_rows(path, ["index", "name"], problems)
    return None if len(problems.errors) > errors_before else from_rows(space, path, rows, problems)


def from_rows(
    space: LabelSpace,
    path: Path,
    rows: Sequence[Mapping[str, str]],
    problems: Problems,
    scans: Sequence[str] = (),
) -> Convention | None:
    """Match the names of rows `{index, name[, abbreviation]}` of a file; see `from_names`.

    Names without a match are an error of `scans`, or of the whole cohort without any.

    Integer 0 is the background if it is called so in any of the usual ways, and another integer
    that is "unknown" tells nothing, unless the table has a structure of that name.
    """
    errors_before = len(problems.errors)
    mapping: dict[str, Meaning] = {}
    unmatched: list[str] = []
    for row in rows:
        columns = (row["name"], row.get("abbreviation", ""))
        names = [" ".join(name.split()) for name in columns if name]  # some tools pad with spaces
        match: Meaning = next((name for name in names if has_name(space, name)), None)
        generic = names[0].casefold() if names else ""
        if row["index"] == "0" and generic in BACKGROUNDS:
            match = space.leaves[space.background].index
        if row["index"] in mapping:
            found_twice = f"lists the index {row['index']} twice"
            problems.error(path, found_twice, "one row for each index", kind="duplicate-row")
        elif match is None and generic != UNKNOWN:
            unmatched.append(f"{row['index']} {row['name']!r}")
        mapping[row["index"]] = match
    if unmatched:
        own = "map the integers with the cohort's `convention`, or rename the table's entries"
        if _as_in_table(space, mapping):
            own = (
                "all others are integers of that table: if its integers are meant, set "
                "cohort.convention=identity, and no label file may hold these; else map the "
                "integers with the cohort's `convention`"
            )
        problems.error(
            path,
            f"has names that label table '{space.name}' lacks: {shorten(unmatched, 12)}",
            _expected_names(space),
            f"{own}; if the labels are not to be used, set cohort.convention=identity and "
            "annotation={full: [], protocol: {name: ignored, unlabelled: true, describes: true}}, "
            "both after extra_cohorts.NAME. where it is one of those",
            KIND,
            scans,
        )
    if len(problems.errors) > errors_before:
        return None
    return resolve(space, mapping, path, problems)


def _as_in_table(space: LabelSpace, mapping: Mapping[str, Meaning]) -> bool:
    """Return whether names mean the leaves whose own integers they stand at, as far as known."""
    known = {index: meaning for index, meaning in mapping.items() if meaning is not None}
    leaves = {str(leaf.index): frozenset([n]) for n, leaf in enumerate(space.leaves)}
    return len(known) > 2 and all(
        leaves.get(index) == space.label_set(meaning) for index, meaning in known.items()
    )


def has_name(space: LabelSpace, name: int | str) -> bool:
    """Return whether a label table has a structure of that name."""
    try:
        space.label_set(name)
    except LabelError:
        return False
    return True


def _expected_names(space: LabelSpace) -> str:
    names = ", ".join(entry.abbreviation for entry in space.classes)
    return f"one of {names} (or the full names)"
