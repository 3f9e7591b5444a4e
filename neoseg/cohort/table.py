"""Read and write small text tables (TSV, CSV); all values stay strings."""

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
from neoseg.foreign.files import LARGEST_TABLE, require_few_cells


class Row(dict[str, str]):
    """The cells of a row by column, and the line of the file where the row begins."""

    line: int


def _delimiter(path: Path, text: str, required: Sequence[str]) -> str:
    """Return the delimiter: that of the file's ending, or another one that fits the header."""
    default = "," if path.suffix.lower() == ".csv" else "\t"
    header = next(iter(text.splitlines()), "")
    delimiters = (default, ",", ";", "\t")
    for delimiter in delimiters:
        names = {name.strip(' "').casefold() for name in header.split(delimiter)}
        if len(names) > 1 and names.issuperset(required):
            return delimiter
    return next((delimiter for delimiter in delimiters if delimiter in header), default)


def read_rows(
    path: Path, required: Sequence[str], problems: Problems, within: Path | None = None
) -> list[Row]:
    """Return the rows of a `.tsv` (tabs) or `.csv` (commas) file with lower-case column names.

    If the header has the required columns with another delimiter, such as the semicolons that
    spreadsheets write in many locales, that delimiter is used. Values are stripped and never
    converted, so leading zeros of ids survive. If the file cannot be read, the error is recorded
    in `problems` and no rows are returned. `within` is the run folder that the table belongs to;
    a link out of it is an error.
    """
    bad, expected = partial(problems.error, path, kind="bad-table"), "a UTF-8 text table"
    try:
        text = read_bytes(path, LARGEST_TABLE, within).decode("utf-8-sig")
        require_few_cells(path, text)
        delimiter = _delimiter(path, text, required)
        # Strict, as an unmatched quotation mark would otherwise swallow the following rows.
        reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
        first_lines, lines = [1], []
        for cells in reader:
            lines.append(cells)
            first_lines.append(reader.line_num + 1)
    except ForeignError as error:
        found = str(error).removeprefix(f"{path} ")
        bad(found, expected, "correct the path, or restore the file")
        return []
    except (UnicodeDecodeError, csv.Error) as error:
        action = "save it as UTF-8 with paired quotation marks, or restore it"
        bad(f"cannot be read ({error})", expected, action)
        return []
    names = [name.strip().casefold() for name in (lines[0] if lines else [])]
    duplicates = sorted(name for name, count in Counter(names).items() if name and count > 1)
    missing = [name for name in required if name not in names]
    overlong = [
        str(number)
        for number, cells in enumerate(lines[1:], start=2)
        if any(cell.strip() for cell in cells[len(names) :])
    ]
    if missing or duplicates:
        action = f"rename or remove the second {shorten(duplicates)}"
        if missing:
            action = f"add {', '.join(missing)}; columns are parted by {delimiter!r}"
        columns = f"the columns {', '.join(required)}, each once"
        bad(f"has the columns {shorten(names) or 'none'}", columns, action)
        return []
    if overlong:
        found, action = shorten(overlong), f"quote cells that contain {delimiter!r}"
        bad(f"has more cells than columns in row {found}", f"{len(names)} cells", action)
        return []
    # Tables edited by hand often lack trailing empty cells.
    rows = []
    for line, cells in zip(first_lines[1:], lines[1:], strict=False):
        if any(cell.strip() for cell in cells):
            row = Row(dict.fromkeys(names, ""))
            row |= {name: uncell(text.strip()) for name, text in zip(names, cells, strict=False)}
            row.line = line
            rows.append(row)
    return rows


def write_rows(path: Path, columns: Sequence[str], rows: Iterable[Iterable[object]]) -> None:
    """Write a `.tsv` or `.csv` file atomically; None is written as an empty cell."""
    delimiter = "," if path.suffix == ".csv" else "\t"
    with replacing(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as stream:
        table = csv.writer(stream, delimiter=delimiter, lineterminator="\n")
        table.writerows(map(cell, row) for row in (columns, *rows))
