"""Fit learning curves to hippocampus runs with few full labels; predict those with more.

    python experiments/annotation_plan/next_point.py [../real/hippocampus/results.csv]

Of `supervised` and `partial_superclass`, which learn from 160 people, all runs with fewer full ones
than the point that is predicted.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import pandas as pd

from neoseg.trust.learning_curve import LearningCurve

RESULTS = Path(__file__).parents[1] / "real" / "hippocampus" / "results.csv"
PEOPLE = {1: 2, 2: 3, 5: 8, 10: 16, 100: 160}
"""In full, by percent of the 160."""

LEARNT = ("supervised", "partial_superclass", "full_supervision")


def main() -> None:
    """Print what was predicted and what came out."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("results", type=Path, nargs="?", default=RESULTS)
    runs = pd.read_csv(parser.parse_args().results)
    runs = runs[runs["experiment"].isin(LEARNT)]
    runs["full"] = runs["percent_full"].map(PEOPLE)
    partial = runs["experiment"] == "partial_superclass"
    runs["coarse"] = (160 - runs["full"]).where(partial, 0)
    rows = []
    for number in sorted(set(runs["full"]))[2:]:
        known, held = runs[runs["full"] < number], runs[runs["full"] == number]
        counts = known[["full", "coarse"]].to_numpy(float)
        curve = LearningCurve.fit(("full", "coarse"), counts, known["dice_hidden_parts"].to_numpy())
        for (full, coarse), part in held.groupby(["full", "coarse"]):
            middle, low, high = curve.predict(pd.DataFrame([[full, coarse]]).to_numpy(float))[0]
            found = part["dice_hidden_parts"].mean()
            rows.append([len(known), full, coarse, middle, low, high, found, len(part)])
    columns = ["runs", "full", "coarse", "predicted", "low", "high", "found", "of"]
    print(pd.DataFrame(rows, columns=columns).round(3).to_string(index=False))


if __name__ == "__main__":
    main()
