"""Read and write small tables of text (TSV, CSV); every value stays a string."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from neoseg.cohort.problems import Problems
from neoseg.files import replacing


def read_rows(path: Path, required: Sequence[str], problems: Problems) -> list[dict[str, str]]:
    """Return the rows of a `.tsv` (tabs) or `.csv` (commas) file with lower-case column names.

    Values are stripped and never converted, so that leading zeros of ids survive. What cannot be
    read is noted in `problems` and gives no rows.
    """
    delimiter = "," if path.suffix == ".csv" else "\t"
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        problems.error(
            path,
            f"cannot be read ({error})",
            "a UTF-8 text table",
            "save it as UTF-8, or restore it",
            "bad-table",
        )
        return []
    header, *lines = [*csv.reader(text.splitlines(), delimiter=delimiter)] or [[]]
    names = [name.strip().casefold() for name in header]
    lacking = [name for name in required if name not in names]
    if lacking:
        problems.error(
            path,
            f"has the columns {', '.join(names) or 'none'}",
            f"the columns {', '.join(required)}",
            f"add {', '.join(lacking)}; columns are parted by {delimiter!r}",
            "bad-table",
        )
        return []
    # Tables edited by hand often lose trailing empty cells; they read as empty.
    return [
        dict.fromkeys(names, "") | dict(zip(names, map(str.strip, cells), strict=False))
        for cells in lines
        if any(cell.strip() for cell in cells)
    ]


def write_rows(path: Path, columns: Sequence[str], rows: Iterable[Mapping[str, str]]) -> None:
    """Write a `.tsv` or `.csv` file, whole or not at all."""
    with replacing(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.DictWriter(
            stream,
            columns,
            delimiter="," if path.suffix == ".csv" else "\t",
            lineterminator="\n",
        )
        writer.writeheader()
        writer.writerows(rows)
