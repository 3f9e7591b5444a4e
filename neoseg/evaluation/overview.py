"""Readable score tables of a run, for the console and the report."""

import pandas as pd
from rich.cells import cell_len
from rich.console import Group
from rich.markup import escape
from rich.table import Table

from neoseg.evaluation.table import AGE_GROUPS, SCAN, of_age, summarise

_SHOWN = (("dice", "Dice", 3), ("hd95", "HD95 mm", 2), ("hd", "HD mm", 2))


def overview(scores: pd.DataFrame) -> pd.DataFrame:
    """Return a table with a row per class: mean ± std over all, preterm and term scans.

    A dagger marks classes that the annotation protocol hides; "–" marks scores that do not apply.
    "missed" counts among the scans whose truth has the class, "invented", which appears only if
    there is any, among the others; Dice is over the former and those in which it was invented.
    """
    columns: dict[str, dict[str, str]] = {}
    invented = bool(scores["invented"].any())
    for group in AGE_GROUPS:
        part = of_age(scores, group)
        if part.empty:
            continue
        summary = summarise(part).set_index("abbreviation")
        for metric, title, digits in _SHOWN:
            columns[f"{title} {group}"] = {
                str(name): plus_minus(row[f"{metric}_mean"], row[f"{metric}_std"], digits)
                for name, row in summary.iterrows()
            }
        counts = {"missed": ("misses", "present"), "invented": ("inventions", "absent")}
        for title, (column, total) in counts.items():
            if title == "missed" or invented:
                columns[f"{title} {group}"] = {
                    str(name): f"{int(row[column])}/{int(row[total])}"
                    for name, row in summary.iterrows()
                }
    order = list(dict.fromkeys(scores["abbreviation"]))
    hidden = set(scores.loc[scores["hidden"], "abbreviation"])
    table = pd.DataFrame({key: pd.Series(cells, dtype=object) for key, cells in columns.items()})
    table = table.reindex(order).fillna("–")
    table.insert(0, "class", [f"{name}†" if name in hidden else name for name in order])
    return table.reset_index(drop=True)


def rich_table(scores: pd.DataFrame, title: str = "Scores", width: int = 80) -> Group:
    """Return the overview: one table of all scans and one per age group.

    Where a table is wider than `width` letters, it leaves out HD, and then breaks names of classes.
    """
    frame = overview(scores)
    tables = []
    for group in AGE_GROUPS:
        group_scores = of_age(scores, group)
        if group != "all" and len(group_scores) in (0, len(scores)):
            continue
        scans = len(group_scores[list(SCAN)].drop_duplicates())
        heading = f"{escape(title)}: {group} ({scans} scan{'s' if scans > 1 else ''})"
        table = Table(title=heading)
        table.add_column("class", overflow="fold")
        columns = [name for name in frame.columns if name.endswith(f" {group}")]
        if _width(frame[["class", *columns]], f" {group}") > width:
            columns.remove(f"HD mm {group}")
        for name in columns:
            table.add_column(name.removesuffix(f" {group}"), justify="right", no_wrap=True)
        for row in frame[["class", *columns]].itertuples(index=False):
            table.add_row(*map(escape, row))
        tables.append(table)
    cells = frame.astype(str).to_numpy().ravel()
    notes = {"±": "mean ± std over scans", "†": "† hidden by the protocol"}
    captions = [text for sign, text in notes.items() if any(sign in cell for cell in cells)]
    if scores["invented"].any():
        captions.append(
            "invented: not in the truth, counted as Dice 0 (not drawn? cohort.not_drawn)"
        )
    tables[-1].caption = "; ".join(captions)
    return Group(*tables)


def _width(frame: pd.DataFrame, suffix: str) -> int:
    """Return the letters of a line of a table, whose heads lack a suffix of those of the frame."""
    lines = [str(name).removesuffix(suffix) for name in frame.columns], *frame.to_numpy()
    return 1 + sum(3 + max(map(cell_len, column)) for column in zip(*lines, strict=True))


def plus_minus(mean: float, std: float, digits: int) -> str:
    """Return "0.912 ± 0.013", "0.912" if `std` is NaN, or "–" if `mean` is NaN."""
    if pd.isna(mean):
        return "–"
    return f"{mean:.{digits}f}" + ("" if pd.isna(std) else f" ± {std:.{digits}f}")
