"""Damage done to the tables of a cohort, by a seed, as text editors, spreadsheets and people do."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

Rng = np.random.Generator
Rows = list[list[str]]

ODD_IDS = (
    *("../../x", "/etc/passwd", "..", ".", "", " CC01 ", "sub-CC01", "cc01", "СС01", "CC01\u200b"),
    *("a" * 300, "CC01/../CC02", "C\\C", "n/a", "NaN", "=1+1", "<script>", "CC01;CC02", "'", '"'),
    *("\u0000", "CC\u202801", "0x1", "-"),
)
ODD_AGES = (
    *("nan", "NaN", "inf", "-inf", "1e999", "1e-999", "-999", "0.0", "n/a", "", "40,5", "40.5wk"),
    *("4_0", "٤٠", "0x28", "1e1", "40.5 ", "--40", "9" * 400, "true", "37\u00a0", "14.9", "60.1"),
    *("36.999999999", "37", "+41", ".5e2", "None", "2020-01-01", "=40"),
)
ODD_SPLITS = ("TRAIN", " val ", "dev", "", "train;test", "0", "train,val", "none", "test\u200b")


def odd(rng: Rng, choices: tuple[str, ...]) -> str:
    return choices[int(rng.integers(len(choices)))]


def cell(rng: Rng, rows: Rows) -> Rows:
    """Put something odd into a cell, of the kind that its column may suffer."""
    number = int(rng.integers(1, len(rows)))
    column = int(rng.integers(0, min(len(rows[0]), len(rows[number]))))
    name = rows[0][column]
    choices = ODD_IDS if "id" in name or name in ("subject", "session", "name") else ODD_AGES
    rows[number][column] = odd(rng, ODD_SPLITS if name in ("split", "stream") else choices)
    return rows


def header(rng: Rng, rows: Rows) -> Rows:
    """Rename, repeat, empty or re-case a column."""
    column = int(rng.integers(0, len(rows[0])))
    name = rows[0][column]
    changes = (name.upper(), f" {name} ", "", "x", rows[0][0], f"{name}s", f'"{name}"')
    rows[0][column] = odd(rng, changes)
    return rows


def lost_column(rng: Rng, rows: Rows) -> Rows:
    column = int(rng.integers(0, len(rows[0])))
    return [row[:column] + row[column + 1 :] for row in rows]


def repeated_row(rng: Rng, rows: Rows) -> Rows:
    row = list(rows[int(rng.integers(1, len(rows)))])
    if rng.random() < 0.5:
        row[-1] = odd(rng, ODD_AGES)
    return [*rows, row]


def lost_row(rng: Rng, rows: Rows) -> Rows:
    del rows[int(rng.integers(0, len(rows)))]
    return rows


def ragged(rng: Rng, rows: Rows) -> Rows:
    number = int(rng.integers(0, len(rows)))
    rows[number] = rows[number][:-1] if rng.random() < 0.5 else [*rows[number], "more"]
    return rows


def shuffled(rng: Rng, rows: Rows) -> Rows:
    order = rng.permutation(len(rows[0]))
    return [[row[place] for place in order if place < len(row)] for row in rows]


def empty_lines(rng: Rng, rows: Rows) -> Rows:
    place = int(rng.integers(0, len(rows) + 1))
    return [*rows[:place], [""] * int(rng.integers(1, 4)), *rows[place:]]


OF_ROWS: tuple[Callable[[Rng, Rows], Rows], ...] = (
    *(cell, cell, cell, header, lost_column, repeated_row, lost_row, ragged, shuffled),
    empty_lines,
)


def damaged(rng: Rng, rows: Rows, delimiter: str) -> tuple[bytes, str]:
    """Return the bytes of a damaged table and the kinds of damage."""
    rows = [list(row) for row in rows]
    kinds = []
    for _ in range(int(rng.integers(0, 3))):
        change = OF_ROWS[int(rng.integers(len(OF_ROWS)))]
        if len(rows) > 1 and all(rows):
            rows = change(rng, rows)
            kinds.append(change.__name__)
    if rng.random() < 0.12:
        delimiter = odd(rng, (",", ";", "\t", " ", "|", ", "))
        kinds.append("delimiter")
    ending = "\n"
    if rng.random() < 0.12:
        ending = odd(rng, ("\r\n", "\r", "\n\n", "\x0b", "\u2028"))
        kinds.append("line_ending")
    text = ending.join(delimiter.join(row) for row in rows) + ending * int(rng.random() < 0.9)
    if rng.random() < 0.08:
        place = int(rng.integers(0, len(text) + 1))
        text = text[:place] + odd(rng, ('"', "'", "\0", "\ufeff", "\x1a", "#")) + text[place:]
        kinds.append("stray_character")
    encoding = "utf-8"
    if rng.random() < 0.12:
        encoding = odd(rng, ("utf-8-sig", "utf-16", "utf-16-le", "utf-32", "utf-7", "cp500"))
        kinds.append(encoding)
    content = text.encode(encoding, errors="replace")
    if rng.random() < 0.08:
        extra = (b"\xff\xfe", b"\xe9", b"x" * 200_000, b"", content, b'"' + b"y\t" * 90_000)
        place = int(rng.integers(0, len(content) + 1))
        content = content[:place] + extra[int(rng.integers(len(extra)))] + content[place:]
        kinds.append("foreign_bytes")
    if rng.random() < 0.04:
        content = content[: int(rng.integers(0, len(content) + 1))]
        kinds.append("cut_off")
    return content, "+".join(kinds) or "none"
