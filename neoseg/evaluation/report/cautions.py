"""Warnings that a report shows before any number."""

from __future__ import annotations

from collections.abc import Iterator
from functools import reduce

import pandas as pd

from neoseg.evaluation.report.compare import Comparison
from neoseg.evaluation.table import SCAN
from neoseg.findings.problems import shorten

FEW_SUBJECTS = 5
"""Number of test subjects below which the report warns."""


def cautions(comparison: Comparison) -> list[str]:
    """Return warnings about results that cannot be compared or rest on few subjects."""
    frame = comparison.frame
    return [
        *_different_contents(frame),
        *_duplicate_runs(frame),
        *_few_subjects(comparison.summary),
    ]


def _different_contents(frame: pd.DataFrame) -> Iterator[str]:
    """Yield a warning if runs were scored on different scans or structures."""
    leaves = frame[frame["is_leaf"]]
    for noun, columns, remedy in (
        (
            "scans",
            list(SCAN),
            "their means are not of the same people, and only pairs on shared scans say how they "
            "compare; give all of them one split",
        ),
        (
            "structures",
            ["abbreviation"],
            "their means over structures are not of the same ones; compare single structures",
        ),
    ):
        contents = {
            run: {*part[columns].itertuples(index=False, name=None)}
            for run, part in leaves.groupby("run", sort=False)
        }
        if not contents:
            return
        shared = reduce(set.intersection, contents.values())
        arms = leaves.drop_duplicates("run").set_index("run")["arm"]
        if any(len(content) > len(shared) for content in contents.values()):
            sizes = {f"{arms[run]}: {len(content)}" for run, content in contents.items()}
            yield (
                f"Runs were scored on different {noun} ({shorten(sorted(sizes))}; shared by all: "
                f"{len(shared)}): {remedy}."
            )


def _duplicate_runs(frame: pd.DataFrame) -> Iterator[str]:
    """Yield a warning for each group of runs of an arm with identical scores."""
    leaves = frame[frame["is_leaf"]].sort_values([*SCAN, "abbreviation"])
    runs_of: dict[tuple[str, tuple[float, ...]], list[str]] = {}
    for run, part in leaves.groupby("run", sort=False):
        key = (str(part["arm"].iloc[0]), tuple(part["dice"].fillna(-1.0)))
        if len(set(key[1])) > 1:  # networks that find nothing all have the same scores
            runs_of.setdefault(key, []).append(str(run))
    for (arm, _), runs in runs_of.items():
        if len(runs) > 1:
            yield (
                f"{len(runs)} runs of {arm} have the very same scores ({shorten(runs)}): they are "
                "one training, such as of draws that chose the same people with the same seed, and "
                "count as if they were several. Keep one of them, or give each a seed of its own "
                "(seed='${annotation.draw}')."
            )


def _few_subjects(summary: pd.DataFrame) -> Iterator[str]:
    """Yield a warning if an age group has few test subjects."""
    counts = summary.groupby("age_group", sort=False)["subjects"].max()
    few = [f"{group} scans {count}" for group, count in counts.items() if count < FEW_SUBJECTS]
    if few:
        yield (
            f"Few test subjects ({', '.join(few)}): below {FEW_SUBJECTS} subjects, differences "
            "say little of others."
        )
