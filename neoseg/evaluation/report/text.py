"""Render the report as Markdown and LaTeX."""

from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from neoseg.evaluation.budget import BUDGET
from neoseg.evaluation.metrics import METRICS
from neoseg.evaluation.report.arms import MEANS
from neoseg.evaluation.report.cases import case_title
from neoseg.evaluation.report.cautions import cautions
from neoseg.evaluation.report.compare import Comparison
from neoseg.evaluation.report.contrasts import WITH_REFERENCE
from neoseg.evaluation.report.intervals import FEWEST
from neoseg.evaluation.report.layout import (
    by_arm,
    by_share,
    comparison_table,
    equality_table,
    gap_table,
    headline_classes,
    significant,
)
from neoseg.files import write_text
from neoseg.findings.markup import latex, markdown, markdown_text

_HEADLINES = ("dice", "hd95", "hd")
_MAX_CELL_VALUES = 4


@dataclass(frozen=True)
class Parts:
    """Files that were written besides the text, as paths in the report's folder.

    Attributes:
        figures: file name without suffix -> caption.
        cases: index into the comparison's cases -> picture.
        cards: run -> card.
    """

    figures: dict[str, str]
    cases: dict[int, str]
    cards: dict[str, str]


def write_tables(comparison: Comparison, output: Path) -> None:
    """Write `tables.md` and `tables.tex`: all metrics and classes, and the tables of arms."""
    tables = _tables(comparison)
    blocks = [f"## {markdown_text(caption)}\n\n{markdown(frame)}" for caption, frame in tables]
    write_text(output / "tables.md", "\n".join(["# Tables\n", f"{_legend(comparison)}\n", *blocks]))
    write_text(output / "tables.tex", "\n".join(latex(f, caption) for caption, f in tables))


def markdown_report(comparison: Comparison, parts: Parts) -> str:
    """Return the report: headline tables, figures, comparisons, cases, cards and notes."""
    summary, tests = comparison.summary, comparison.tests
    classes = headline_classes(summary)
    singles = [name for name in classes if name not in MEANS]
    lines = ["# Comparison of runs", "", comparison.about, ""]
    for warning in cautions(comparison):
        lines += [f"**{markdown_text(warning)}**", ""]
    lines += _left_out(comparison)
    for metric in _HEADLINES:
        if metric in set(summary["metric"]):
            better = significant(tests, metric)
            table = by_share(summary, metric, classes, better)
            lines += [f"## {METRICS[metric].title}", "", markdown(table)]
    lines += [_legend(comparison), ""]
    if 0 < len(singles) <= _MAX_CELL_VALUES:
        title = markdown_text(f"Dice by experiment ({'/'.join(singles)})")
        lines += [f"## {title}", "", markdown(by_arm(summary, singles))]
    lines += ["Every class and score: [tables.md](tables.md), [tables.tex](tables.tex).", ""]
    lines += ["## Figures", ""]
    for name, title in parts.figures.items():
        lines += [f"![{markdown_text(title)}]({name}.png)", ""]
    lines += _comparisons(comparison, classes)
    lines += _budgets(comparison)
    lines += ["## Worst and median cases", ""]
    for number, path in parts.cases.items():
        title = markdown_text(case_title(comparison.cases[number]))
        lines += [f"![{title}]({path})", ""]
    if not parts.cases:
        lines += ["No run has kept its test scans.", ""]
    lines += ["## Run cards", ""]
    lines += [f"- [{markdown_text(run)}]({path})" for run, path in parts.cards.items()]
    lines += ["", "## How to read this", "", *(f"- {note}" for note in notes(comparison)), ""]
    return "\n".join(lines)


def notes(comparison: Comparison) -> list[str]:
    """Return notes on how to read the numbers, as Markdown list items."""
    settings = comparison.settings
    tolerances = comparison.collected.scores["nsd_tolerance"].dropna().unique()
    tolerance = " or ".join(f"{value:g}" for value in sorted(tolerances))
    texts = [
        "An arm is all runs that differ in draw and seed alone, named by what tells it from other "
        "arms. A cell is the mean over draws of the per-draw means over scans, ± their standard "
        "deviation.",
        f"Intervals of arms ({100 * settings.level:g} %, Student's t, corrected for skewness) are "
        "over subjects, whose sessions stay together: they tell how a mean would vary with "
        "other test subjects, not with other draws. Below three subjects there is none.",
        "Arms are compared on the scans that both have scored. Where both have three draws, two "
        "methods are compared: interval and p are those of a crossed model in which draws and "
        "subjects are random. With fewer, two networks are compared: interval and p are over "
        "subjects alone, tell nothing about other draws, and earn no asterisk; the permutation "
        "test flips the sign of the differences subject by subject, with the smallest p that so "
        "many subjects can give in brackets. d is the subjects' mean difference over its standard "
        "deviation, n/a where the differences do not vary.",
        "Chosen beforehand: comparisons with the reference at the same share, and with full "
        "supervision, in the means and the hidden structures; Holm's correction is within these, "
        "by score and age group. All other comparisons are exploratory, and their p-values are "
        "not corrected.",
        "The share of the gap is (arm - reference) / (full - reference), with Fieller's interval, "
        "which has no ends where the gap itself may be 0. Not worse: one-sided against a loss of "
        f"{settings.margin:g} Dice or more; equal: two one-sided tests.",
        "anova_p in tests.csv is the paper's test: one-way, over the per-draw means of two arms, "
        "not paired.",
        "A structure that the truth has and the prediction lacks (or the reverse) scores a Dice of "
        "0 and the diagonal of the image as distance; one that neither has does not count. "
        "A class is scored on the scans whose truth knows it.",
        "Preterm and term: scans before and from 37 weeks of post-menstrual age.",
    ]
    if tolerance:
        texts.append(f"The normalised surface Dice allows {tolerance} mm.")
    subjects = comparison.collected.scores["person"].nunique()
    if subjects < 10:
        texts.append(f"{subjects} test subjects say little about others.")
    draws = comparison.summary["draws"]
    if len(draws) and draws.min() < FEWEST:
        texts.append(
            "Some arms have fewer than three draws: their results hold for these networks only."
        )
    return texts


def _tables(comparison: Comparison) -> list[tuple[str, pd.DataFrame]]:
    summary, tests = comparison.summary, comparison.tests
    present = set(summary["metric"])
    tables = []
    for metric in (m for m in METRICS if m in present):
        better = significant(tests, metric) if METRICS[metric].better else None
        tables.append((METRICS[metric].title, by_share(summary, metric, better=better)))
    singles = [name for name in headline_classes(summary) if name not in MEANS]
    if 0 < len(singles) <= _MAX_CELL_VALUES:
        title = f"Mean Dice by experiment ({'/'.join(singles)})"
        tables.append((title, by_arm(summary, singles)))
    return tables + _full_supervision_tables(comparison, headline_classes(summary))


def _comparisons(comparison: Comparison, classes: list[str]) -> list[str]:
    tests = comparison.tests
    if tests.empty:
        return []
    reference = comparison.settings.reference
    with_reference = tests["family"] == WITH_REFERENCE
    part = tests[with_reference] if any(with_reference) else tests
    part = part[part["age_group"] == "all"]
    title = f"with {markdown_text(reference)}" if any(with_reference) else "of arms (exploratory)"
    lines = [f"## Comparison {title}: Dice, all scans", ""]
    lines += [markdown(comparison_table(part, classes))]
    lines += ["First minus second; all pairs, ages, classes and scores: `tests.csv`.", ""]
    for caption, table in _full_supervision_tables(comparison, classes, "all"):
        lines += [f"## {markdown_text(caption)}", "", markdown(table)]
    return lines


def _full_supervision_tables(
    comparison: Comparison, classes: list[str], group: str | None = None
) -> list[tuple[str, pd.DataFrame]]:
    """Return the non-empty tables of the gap and of the tests against full supervision."""
    tests, settings = comparison.tests, comparison.settings
    part = tests if group is None else tests[tests["age_group"] == group]
    gap = f"Share of the Dice gap from {settings.reference} to {settings.full} that is closed"
    equal = f"Dice beside {settings.full}, p-values for a margin of {settings.margin:g}"
    tables = [(gap, gap_table(part, classes)), (equal, equality_table(part, classes))]
    return [(caption, table) for caption, table in tables if len(table)]


def _budgets(comparison: Comparison) -> list[str]:
    table = comparison.table
    if "validation" not in table:
        return []
    budgets = table.dropna(subset=["arm", "validation"]).drop_duplicates(["arm", *BUDGET])
    counts = budgets[["arm", *BUDGET]].astype(dict.fromkeys(BUDGET, int))
    return [
        *("## Label budget", "", markdown(counts)),
        "Scans of a run; those that validate are labelled, too, and count as labels wherever the "
        "validation decides (`checkpoint.best`, `early_stopping`, or a person who tunes by it).",
        "",
    ]


def _legend(comparison: Comparison) -> str:
    reference = markdown_text(comparison.settings.reference)
    return (
        "Mean ± standard deviation over draws; † hidden by the annotation protocol of some run; "
        f"\\* better than {reference} (methods, over draws and subjects, Holm, p < .05)."
    )


def _left_out(comparison: Comparison) -> list[str]:
    unfinished = comparison.collected.unfinished
    if not unfinished:
        return []
    listed = [f"- {markdown_text(str(u.path))}: {markdown_text(u.reason)}" for u in unfinished]
    return [f"Left out, {len(unfinished)} unfinished:", "", *listed, ""]
