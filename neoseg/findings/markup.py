"""Escape any text for tables in Markdown, LaTeX and CSV."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from neoseg.errors import printable
from neoseg.files import replacing

if TYPE_CHECKING:
    import pandas as pd

_MAX_ROWS = 45
"""Number of rows above which a LaTeX table may break across pages."""

_LATEX = str.maketrans(
    {"&": r"\&", "%": r"\%", "_": r"\_", "#": r"\#", "$": r"\$", "±": r"$\pm$", "†": r"$\dagger$"}
    | {"–": "--", "{": r"\{", "}": r"\}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}
    | {"[": "{[}", "]": "{]}", '"': r"\textquotedbl{}", "`": r"\textasciigrave{}"}
    | {"\\": r"\textbackslash{}", "<": r"\textless{}", ">": r"\textgreater{}", "*": r"$^{*}$"}
)
_FORMULA = re.compile(r"'* ?[=+\-@\t\r\n]")
NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)
_SPACE = re.compile("[\N{NO-BREAK SPACE}\N{NARROW NO-BREAK SPACE}]")
_MARKDOWN = re.compile(r"([\\`*_\[\]<>|])")


def cell(value: Any) -> Any:
    """Return a value that a spreadsheet does not interpret as a formula.

    Numbers stay numbers, including numbers as text. `uncell` restores the text, except for carriage
    returns, which would start a new row and become spaces.
    """
    if not isinstance(value, str):
        return value
    is_formula = _FORMULA.match(value) and not NUMBER.fullmatch(value)
    return ("'" if is_formula else "") + value.replace("\r", " ")


def uncell(text: str) -> str:
    """Return the text that `cell` escaped."""
    return text[1:] if re.match("' ?", text) and _FORMULA.match(text) else text


def write_csv(path: Path, frame: pd.DataFrame, float_format: str | None = None) -> None:
    """Write a frame as CSV atomically, with texts escaped by `cell`."""
    texts = {
        str(name): column.map(cell) for name, column in frame.items() if column.dtype.kind == "O"
    }
    with replacing(path) as temporary:
        frame.assign(**texts).rename(columns=cell).to_csv(
            temporary, index=False, float_format=float_format
        )


def markdown(frame: pd.DataFrame) -> str:
    """Return a frame as a Markdown table with escaped cells.

    Cells cannot end the table, open a link or contain HTML; two-level columns are joined.
    """
    columns = [_joined(name) for name in frame.columns]
    return markdown_rows(columns, frame.itertuples(index=False), ":")


def markdown_rows(columns: Sequence[str], rows: Iterable[Iterable[object]], align: str = "") -> str:
    """Return rows as a Markdown table; `align` ":" right-aligns all columns but the first."""
    rule = [" --- ", *[f" ---{align} "] * (len(columns) - 1)]
    cells = [[markdown_text(str(cell)) for cell in row] for row in (columns, *rows)]
    head, *body = (f"| {' | '.join(row)} |" for row in cells)
    return "\n".join([head, f"|{'|'.join(rule)}|", *body, ""])


def markdown_text(text: str) -> str:
    """Escape what Markdown or HTML would interpret as markup; line breaks become spaces."""
    escaped = _MARKDOWN.sub(_escape, " ".join(text.split()))
    return escaped.replace("&", "&amp;")


def _escape(match: re.Match[str]) -> str:
    mark = match[1]
    # Markdown takes an underscore inside a word for text, and names have many.
    before, after = match.string[: match.start()][-1:], match.string[match.end() :][:1]
    inner = mark == "_" and before.isalnum() and after.isalnum()
    return mark if inner else f"\\{mark}"


def figure_text(text: object) -> str:
    """Escape text so that matplotlib reads no formula in it, and has a sign for each character.

    Spaces that do not break a line become plain ones; `printable` would make them visible.
    """
    return printable(_SPACE.sub(" ", str(text))).replace("$", r"\$")


def latex(frame: pd.DataFrame, caption: str) -> str:
    """Return a frame of text as a LaTeX table (booktabs; longtable if it is long).

    Two-level columns become a head of two lines, in which neighbours with the same first level
    share one cell. If some rows have an empty first cell, each other row starts a block.
    """
    columns = f"l{'r' * (frame.shape[1] - 1)}"
    body = [_latex_row(list(row)) for row in frame.to_numpy()]
    starts = [bool(str(row[0])) for row in frame.to_numpy()]
    if not all(starts):
        body = [
            rf"\midrule{chr(10)}{line}" if first and number else line
            for number, (line, first) in enumerate(zip(body, starts, strict=True))
        ]
    head = [r"\toprule", *_latex_head(frame), r"\midrule"]
    if len(frame) > _MAX_ROWS:
        lines = [rf"\begin{{longtable}}{{{columns}}}", rf"\caption{{{latex_text(caption)}}}\\"]
        lines += [*head, r"\endhead", *body, r"\bottomrule", r"\end{longtable}"]
    else:
        lines = [r"\begin{table}", r"\centering", rf"\caption{{{latex_text(caption)}}}"]
        lines += [rf"\begin{{tabular}}{{{columns}}}", *head, *body, r"\bottomrule"]
        lines += [r"\end{tabular}", r"\end{table}"]
    return "\n".join([*lines, ""])


def latex_text(text: object) -> str:
    """Escape the characters that LaTeX reserves; line breaks become spaces, and other control
    characters are removed.
    """
    plain = " ".join(str(text).split())
    return "".join(c for c in plain if c.isprintable()).translate(_LATEX)


def _latex_row(cells: Sequence[object]) -> str:
    return " & ".join(latex_text(cell) for cell in cells) + r" \\"


def _latex_head(frame: pd.DataFrame) -> list[str]:
    if frame.columns.nlevels == 1:
        return [_latex_row(list(frame.columns))]
    spans: list[tuple[str, int]] = []
    for name in frame.columns.get_level_values(0):
        if spans and spans[-1][0] == name and name:
            spans[-1] = (name, spans[-1][1] + 1)
        else:
            spans.append((name, 1))
    cells, rules, column = [], [], 1
    for name, width in spans:
        cells.append(rf"\multicolumn{{{width}}}{{c}}{{{latex_text(name)}}}" if name else "")
        if name:
            rules.append(rf"\cmidrule(lr){{{column}-{column + width - 1}}}")
        column += width
    second = _latex_row(list(frame.columns.get_level_values(1)))
    return [" & ".join(cells) + r" \\", " ".join(rules), second]


def _joined(name: object) -> str:
    if isinstance(name, tuple):
        return ", ".join(str(part) for part in reversed(name) if str(part))
    return str(name)
