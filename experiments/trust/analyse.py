"""What promises from some of the observed scans were worth for the others.

python experiments/trust/analyse.py OBSERVED [--output FILE]
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import betabinom

from neoseg.cohort.split import shuffled
from neoseg.foreign import read_json
from neoseg.labels import LabelSpace, LabelTable
from neoseg.trust.agreement import SCAN, with_mean
from neoseg.trust.calibration import ALIKE, Calibration
from neoseg.trust.observation import Observation
from neoseg.trust.risk import GRID

Row = dict[str, Any]

HERE = Path(__file__).parent
TABLE = HERE.parents[1] / "conf" / "labels" / "hippocampus.yaml"
LEVELS, LEVEL = (0.8, 0.9, 0.95), 0.9
PLAIN = "as it is"
ERROR = 0.025
"""Chance with which a promise that is kept to the point shows less than the bound beside it."""
SPLITS = 20


def observed(folder: Path, space: LabelSpace) -> list[Observation]:
    """Return the observations of a folder by the name of the scan."""
    found = [read_json(path)["seen"] for path in sorted(folder.glob("*.json"))]
    return [Observation.from_plain(seen, space.num_leaves) for seen in found]


def least(known: int, new: int, level: float) -> float:
    """Return what the share of right ones among new scans falls below with a chance of `ERROR`.

    Of scans that are right or wrong as a whole, of which the shares here are the mild case: the
    chance of a right one has a beta distribution over the draws of known scans.
    """
    right = math.ceil((known + 1) * level - 1e-9)
    return float(betabinom.ppf(ERROR, new, right, known + 1 - right)) / new


def of_sets(known: Calibration, new: Sequence[Observation], level: float) -> Iterator[Row]:
    """Yield the mean share of right voxels of new scans, and how much their sets tell.

    What is promised of each structure, too, is looked at for that structure alone.
    """
    limits, each = known.limits(level), known.limits(level, "structure")
    if limits is None or each is None:
        return
    told = {"level": level, "least": least(known.scans, len(new), level)}
    place = limits.place
    right = [1 - seen.losses[0, place] for seen in new]
    leaves, depth = (
        np.mean([v[place] for v in vs]) for vs in ([s.size for s in new], [s.depth for s in new])
    )
    yield {"of": SCAN, **told, "right": np.mean(right), "leaves": leaves, "depth": depth}
    for number, leaf in enumerate(known.space.leaves):
        if number != known.space.background:
            place = int(np.argmin(np.abs(GRID - each.doubts[number])))
            right = [1 - seen.losses[number + 1, place] for seen in new]
            yield {"of": leaf.abbreviation, **told, "right": np.nanmean(right)}


def of_dice(known: Calibration, new: Sequence[Observation]) -> Iterator[Row]:
    """Yield the share of intervals that hold the true Dice, their width, and correlations."""
    for name in known.dice:
        pairs = [
            (with_mean(s.expected, known.space)[name], with_mean(s.dice, known.space)[name])
            for s in new
        ]
        expected, true = np.array(pairs).T
        told = [known.predicted(name, value, LEVEL) for value in expected]
        ends = np.array([ends for ends in told if ends is not None])
        if len(ends) == len(new):
            inside = (ends[:, 1] <= true) & (true <= ends[:, 2])
            yield {
                "of": f"Dice of {name}",
                "level": LEVEL,
                "right": inside.mean(),
                "least": least(known.scans, len(new), LEVEL),
                "width": (ends[:, 2] - ends[:, 1]).mean(),
                "correlation": np.corrcoef(expected, true)[0, 1],
                "dice": true.mean(),
                "off": np.abs(ends[:, 0] - true).mean(),
            }


def of_likeness(known: Calibration, new: Sequence[Observation]) -> Iterator[Row]:
    """Yield the share of new scans that are said to be unlike those known."""
    flagged = [known.likeness(seen.appearance)[0] <= ALIKE for seen in new]
    yield {"of": "flagged", "right": np.mean(flagged)}


def rows(folder: Path, space: LabelSpace, count: int) -> Iterator[Row]:
    """Yield what `count` scans of a run tell of its others, and of those that were changed."""
    seen = {o.scan: o for o in observed(folder / PLAIN, space)}
    changed = {p.name: observed(p, space) for p in sorted(folder.iterdir()) if p.name != PLAIN}
    touched = {o.scan for found in changed.values() for o in found}
    for split in range(SPLITS):
        order = shuffled(sorted(set(seen) - touched), "calibrate", split)
        known = Calibration.of(space, [seen[name] for name in order[:count]])
        new = {PLAIN: [seen[name] for name in [*order[count:], *sorted(touched)]], **changed}
        for change, scans in new.items():
            about = {"run": folder.name, "change": change, "calibration": count, "new": len(scans)}
            for level in LEVELS:
                yield from ({**about, **row} for row in of_sets(known, scans, level))
            for part in (of_dice, of_likeness):
                yield from ({**about, **row} for row in part(known, scans))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("observed", type=Path)
    parser.add_argument("--output", type=Path, default=HERE / "results.csv")
    chosen = parser.parse_args()
    space = LabelSpace.from_table(LabelTable.read(TABLE))
    found = [
        row
        for folder in sorted(chosen.observed.iterdir())
        if (folder / PLAIN).is_dir()
        for count in (20, 40)
        if len(list((folder / PLAIN).glob("*.json"))) >= count + 20
        for row in rows(folder, space, count)
    ]
    table = pd.DataFrame(found)
    table["below"] = (table["right"] < table["least"]).where(table["least"].notna())
    keys = ["run", "change", "calibration", "new", "of", "level"]
    table = table.groupby(keys, dropna=False, sort=False).mean().reset_index()
    table.to_csv(chosen.output, index=False, float_format="%.4f")
    print(table.round(3).to_string())


if __name__ == "__main__":
    main()
