"""The report as Markdown and LaTeX."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from neoseg.evaluation.report.arms import MEAN_OF_HIDDEN, MEAN_OF_LEAVES
from neoseg.evaluation.report.cases import case_title
from neoseg.evaluation.report.compare import Comparison
from neoseg.evaluation.report.layout import (
    HIGHER_IS_BETTER,
    TITLES,
    by_arm,
    by_share,
    comparison_table,
    headline_classes,
    is_arm_of,
    significant,
)
from neoseg.evaluation.table import METRICS
from neoseg.files import write_text
from neoseg.findings.markup import latex, markdown, markdown_text

_HEADLINES = ("dice", "hd95", "hd")
_MOST_IN_A_CELL = 4
_MEANS = (MEAN_OF_HIDDEN, MEAN_OF_LEAVES)


@dataclass(frozen=True)
class Parts:
    """What was written besides the text, as paths in the report's folder.

    Attributes:
        figures: name of the files, without suffix -> what the figure shows.
        cases: number among the comparison's cases -> picture.
        cards: run -> card.
    """

    figures: dict[str, str]
    cases: dict[int, str]
    cards: dict[str, str]


def write_tables(comparison: Comparison, output: Path) -> None:
    """Write `tables.md` and `tables.tex`: every metric and class, and the table of arms."""
    tables = _tables(comparison)
    blocks = [f"## {markdown_text(caption)}\n\n{markdown(frame)}" for caption, frame in tables]
    write_text(output / "tables.md", "\n".join(["# Tables\n", f"{_key(comparison)}\n", *blocks]))
    write_text(output / "tables.tex", "\n".join(latex(f, caption) for caption, f in tables))


def markdown_report(comparison: Comparison, parts: Parts) -> str:
    """Return the report: headline tables, comparisons, figures, cases, runs and how to read it."""
    summary, tests = comparison.summary, comparison.tests
    classes = headline_classes(summary)
    singles = [name for name in classes if name not in _MEANS]
    lines = ["# Comparison of runs", "", comparison.about, ""]
    lines += _left_out(comparison)
    for metric in _HEADLINES:
        if metric in set(summary["metric"]):
            better = significant(tests, metric, comparison.settings.reference)
            table = by_share(summary, metric, classes, better)
            lines += [f"## {TITLES[metric]}", "", markdown(table)]
    lines += [_key(comparison), ""]
    if 0 < len(singles) <= _MOST_IN_A_CELL:
        title = markdown_text(f"Dice by experiment ({'/'.join(singles)})")
        lines += [f"## {title}", "", markdown(by_arm(summary, "dice", singles))]
    lines += ["Every class and score: [tables.md](tables.md), [tables.tex](tables.tex).", ""]
    lines += ["## Figures", ""]
    for name, title in parts.figures.items():
        lines += [f"![{markdown_text(title)}]({name}.png)", ""]
    lines += _comparisons(comparison, classes)
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
    """Return what a reader has to know about the numbers."""
    settings = comparison.settings
    tolerances = comparison.collected.scores["nsd_tolerance"].dropna().unique()
    tolerance = " or ".join(f"{value:g}" for value in sorted(tolerances))
    found = [
        "An arm is an experiment at one share of fully labelled subjects. A cell is the mean over "
        "draws of the per-draw means over scans, ± their standard deviation.",
        f"Intervals ({100 * settings.level:g} %) are bootstrap intervals over subjects, whose "
        "sessions stay together. They tell how a mean would vary with other test subjects, not "
        "with other draws.",
        "Arms are compared on the scans that both have scored, each averaged over its draws. The "
        "permutation test flips the sign of the differences subject by subject, Wilcoxon's test "
        "ranks the subjects' mean differences, d is their mean over their standard deviation. "
        "Holm's correction is over all pairs and classes of one score and age group.",
        "ANOVA is the paper's test: one-way, over the per-draw means of two arms, not paired.",
        "A structure that the truth has and the prediction lacks (or the reverse) scores a Dice of "
        "0 and the diagonal of the image as distance; one that neither has does not count. "
        "A class is scored on the scans whose truth knows it.",
        "Preterm and term: scans before and from 37 weeks of post-menstrual age.",
    ]
    if tolerance:
        found.append(f"The normalised surface Dice allows {tolerance} mm.")
    subjects = comparison.collected.scores["subject"].nunique()
    if subjects < 6:
        smallest = 2.0 ** (1 - subjects)
        found.append(
            f"{subjects} test subjects are few: no permutation test can give a p-value below "
            f"{smallest:g}."
        )
    return found


def _tables(comparison: Comparison) -> list[tuple[str, pd.DataFrame]]:
    summary, tests = comparison.summary, comparison.tests
    present = set(summary["metric"])
    tables = []
    for metric in (m for m in METRICS if m in present):
        better = (
            significant(tests, metric, comparison.settings.reference)
            if metric in HIGHER_IS_BETTER
            else None
        )
        tables.append((TITLES[metric], by_share(summary, metric, better=better)))
    singles = [name for name in headline_classes(summary) if name not in _MEANS]
    if 0 < len(singles) <= _MOST_IN_A_CELL:
        title = f"Mean Dice by experiment ({'/'.join(singles)})"
        tables.append((title, by_arm(summary, "dice", singles)))
    return tables


def _comparisons(comparison: Comparison, classes: list[str]) -> list[str]:
    tests = comparison.tests
    if tests.empty:
        return []
    reference = comparison.settings.reference
    with_reference = [
        is_arm_of(first, reference) or is_arm_of(second, reference)
        for first, second in zip(tests["first"], tests["second"], strict=True)
    ]
    part = tests[with_reference] if any(with_reference) else tests
    part = part[part["age_group"] == "all"]
    title = f"with {markdown_text(reference)}" if any(with_reference) else "of arms"
    table = comparison_table(part, "dice", classes)
    return [
        f"## Comparison {title}: Dice, all scans",
        "",
        markdown(table),
        "First minus second; all pairs, ages, classes and scores: `tests.csv`.",
        "",
    ]


def _key(comparison: Comparison) -> str:
    reference = markdown_text(comparison.settings.reference)
    return (
        "Mean ± standard deviation over draws; † hidden by the annotation protocol of some run; "
        f"\\* better than {reference} (permutation test, Holm, p < .05)."
    )


def _left_out(comparison: Comparison) -> list[str]:
    unfinished = comparison.collected.unfinished
    if not unfinished:
        return []
    listed = [f"- {markdown_text(str(u.path))}: {markdown_text(u.reason)}" for u in unfinished]
    return [f"Left out, {len(unfinished)} unfinished:", "", *listed, ""]
