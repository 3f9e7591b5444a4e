"""What a reader of a report should be warned of before any number."""

from __future__ import annotations

from collections.abc import Iterator
from functools import reduce

import pandas as pd

from neoseg.evaluation.report.compare import Comparison
from neoseg.evaluation.table import SCAN
from neoseg.findings.problems import shorten

FEW_SUBJECTS = 5
"""Test subjects below which a claim comes with a warning."""


def cautions(comparison: Comparison) -> list[str]:
    """Return warnings, each a sentence or two: rows that cannot be compared, or say little."""
    frame = comparison.frame
    return [*_unlike(frame), *_repeated(frame), *_few_subjects(comparison.summary)]


def _unlike(frame: pd.DataFrame) -> Iterator[str]:
    """Yield in what the runs differ that makes their means those of different things."""
    leaves = frame[frame["is_leaf"]]
    for what, columns, remedy in (
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
        own = {
            run: {*part[columns].itertuples(index=False, name=None)}
            for run, part in leaves.groupby("run", sort=False)
        }
        if not own:
            return
        shared = reduce(set.intersection, own.values())
        arms = leaves.drop_duplicates("run").set_index("run")["arm"]
        if any(len(found) > len(shared) for found in own.values()):
            sizes = {f"{arms[run]}: {len(found)}" for run, found in own.items()}
            yield (
                f"Runs were scored on different {what} ({shorten(sorted(sizes))}; shared by all: "
                f"{len(shared)}): {remedy}."
            )


def _repeated(frame: pd.DataFrame) -> Iterator[str]:
    """Yield which draws of an arm are one and the same training."""
    leaves = frame[frame["is_leaf"]].sort_values([*SCAN, "abbreviation"])
    same: dict[tuple[str, tuple[float, ...]], list[str]] = {}
    for run, part in leaves.groupby("run", sort=False):
        key = (str(part["arm"].iloc[0]), tuple(part["dice"].fillna(-1.0)))
        if len(set(key[1])) > 1:  # a network that finds nothing is like any other
            same.setdefault(key, []).append(str(run))
    for (arm, _), runs in same.items():
        if len(runs) > 1:
            yield (
                f"{len(runs)} runs of {arm} have the very same scores ({shorten(runs)}): they are "
                "one training, such as of draws that chose the same people with the same seed, and "
                "count as if they were several. Keep one of them, or give each a seed of its own "
                "(seed='${annotation.draw}')."
            )


def _few_subjects(summary: pd.DataFrame) -> Iterator[str]:
    """Yield which scans have few test subjects, if any have."""
    counts = summary.groupby("age_group", sort=False)["subjects"].max()
    few = [f"{group} scans {count}" for group, count in counts.items() if count < FEW_SUBJECTS]
    if few:
        yield (
            f"Few test subjects ({', '.join(few)}): below {FEW_SUBJECTS} subjects, differences "
            "say little of others."
        )
