"""Read and write small tables of text (TSV, CSV); every value stays a string."""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import Path

from neoseg.files import replacing
from neoseg.findings.markup import cell, uncell
from neoseg.findings.problems import Problems, shorten
from neoseg.foreign import ForeignError, read_bytes
from neoseg.foreign.files import LARGEST_TABLE


class Row(dict[str, str]):
    """The cells of a row by column, and the line of the file in which it begins."""

    line: int


def _delimiter(path: Path, text: str, required: Sequence[str]) -> str:
    """Return what parts the columns: what the file's ending says, or another sign that fits."""
    usual = "," if path.suffix.lower() == ".csv" else "\t"
    head = next(iter(text.splitlines()), "")
    signs = (usual, ",", ";", "\t")
    for sign in signs:
        names = {name.strip(' "').casefold() for name in head.split(sign)}
        if len(names) > 1 and names.issuperset(required):
            return sign
    return next((sign for sign in signs if sign in head), usual)


def read_rows(
    path: Path, required: Sequence[str], problems: Problems, within: Path | None = None
) -> list[Row]:
    """Return the rows of a `.tsv` (tabs) or `.csv` (commas) file with lower-case column names.

    Where its first line has the required columns with another sign between them, as spreadsheets
    of many countries write semicolons, that sign parts the columns. Values are stripped and never
    converted, so that leading zeros of ids survive. What cannot be read is noted in `problems` and
    gives no rows. `within` is the folder of the run to which it belongs, which no link may leave.
    """
    bad, wanted = partial(problems.error, path, kind="bad-table"), "a UTF-8 text table"
    try:
        text = read_bytes(path, LARGEST_TABLE, within).decode("utf-8-sig")
        delimiter = _delimiter(path, text, required)
        # Strict, as a lost quotation mark would otherwise swallow the rows behind it.
        reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
        begins, lines = [1], []
        for cells in reader:
            lines.append(cells)
            begins.append(reader.line_num + 1)
    except ForeignError as error:
        found = str(error).removeprefix(f"{path} ")
        bad(found, wanted, "correct the path, or restore the file")
        return []
    except (UnicodeDecodeError, csv.Error) as error:
        action = "save it as UTF-8 with paired quotation marks, or restore it"
        bad(f"cannot be read ({error})", wanted, action)
        return []
    names = [name.strip().casefold() for name in (lines[0] if lines else [])]
    twice = sorted(name for name, count in Counter(names).items() if name and count > 1)
    lacking = [name for name in required if name not in names]
    long = [
        str(number)
        for number, cells in enumerate(lines[1:], start=2)
        if any(cell.strip() for cell in cells[len(names) :])
    ]
    if lacking or twice:
        action = f"rename or remove the second {shorten(twice)}"
        if lacking:
            action = f"add {', '.join(lacking)}; columns are parted by {delimiter!r}"
        columns = f"the columns {', '.join(required)}, each once"
        bad(f"has the columns {shorten(names) or 'none'}", columns, action)
        return []
    if long:
        found, action = shorten(long), f"quote cells that contain {delimiter!r}"
        bad(f"has more cells than columns in row {found}", f"{len(names)} cells", action)
        return []
    # Tables edited by hand often lose trailing empty cells; they read as empty.
    rows = []
    for line, cells in zip(begins[1:], lines[1:], strict=False):
        if any(cell.strip() for cell in cells):
            row = Row(dict.fromkeys(names, ""))
            row |= {name: uncell(text.strip()) for name, text in zip(names, cells, strict=False)}
            row.line = line
            rows.append(row)
    return rows


def write_rows(path: Path, columns: Sequence[str], rows: Iterable[Iterable[object]]) -> None:
    """Write a `.tsv` or `.csv` file, whole or not at all; None is an empty cell."""
    delimiter = "," if path.suffix == ".csv" else "\t"
    with replacing(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as stream:
        table = csv.writer(stream, delimiter=delimiter, lineterminator="\n")
        table.writerows(map(cell, row) for row in (columns, *rows))
