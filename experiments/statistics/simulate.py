"""Try the report's intervals and tests on samples whose truth is known.

python experiments/statistics/simulate.py --count 3000
"""

from __future__ import annotations

import argparse
import csv
import itertools
from collections.abc import Callable, Iterator
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
from scipy.special import expit

from neoseg.evaluation.report.crossed import Crossed
from neoseg.evaluation.report.intervals import mean_intervals
from neoseg.progress import progress_bar

HERE = Path(__file__).parent
SUBJECTS = (3, 4, 5, 8, 12, 20, 40)
RATIOS = (0.0, 0.5, 1.0)

SHAPES: dict[str, Callable[[np.random.Generator, tuple[int, ...]], np.ndarray]] = {
    "beta 8 2": lambda rng, size: rng.beta(8, 2, size),
    "beta 5 1": lambda rng, size: rng.beta(5, 1, size),
    "logit-normal 1.5 0.8": lambda rng, size: expit(rng.normal(1.5, 0.8, size)),
    "logit-normal 2 1": lambda rng, size: expit(rng.normal(2, 1, size)),
    "normal difference": lambda rng, size: rng.normal(0, 0.1, size),
    "bounded difference": lambda rng, size: (
        expit(1.5 + (u := rng.normal(0, 0.6, size)) + rng.normal(0, 0.4, size))
        - expit(1.2 + u + rng.normal(0, 0.6, size))
    ),
}
"""Of scores of independent subjects; Dice of .8 to .84, skewed by -0.6 to -1.5."""


@cache
def _truth(shape: str) -> float:
    return float(np.mean(SHAPES[shape](np.random.default_rng(0), (4_000_000,))))


def of_means(shape: str, subjects: int, scans: str, count: int, seed: int) -> dict[str, Any]:
    """Return how often the interval of a mean over subjects holds it.

    `scans` is "1", or "1-3": subjects of one, two and three scans in turn, which differ by a third
    of what subjects do.
    """
    rng = np.random.default_rng((seed, subjects))
    draw = SHAPES[shape]
    truth = _truth(shape)
    values, names = draw(rng, (subjects, count)), np.arange(subjects)
    most = np.nan if "difference" in shape else 1.0
    if scans != "1":
        names = np.repeat(names, 1 + names % 3)
        values = values[names]
        noise = rng.normal(0, values.std() / 3, values.shape)
        # No further than to the nearer end, so that the mean stays what it is.
        room = np.minimum(values, 1 - values) if most == 1 else np.inf
        values = values + np.clip(noise, -room, room)
    low, high = mean_intervals(values, names.astype(str), most=most)
    covered = 100 * np.mean((low <= truth) & (truth <= high))
    return {"what": "interval of a mean", "shape": shape, "subjects": subjects} | {
        "scans": scans,
        "covered": covered,
    }


def of_arm(
    rng: np.random.Generator, size: tuple[int, int, int], common: np.ndarray, ratio: float
) -> np.ndarray:
    """Return scores `[draws, subjects, repetitions]` of an arm around what arms have in common."""
    draws, subjects, count = size
    return (
        common
        + rng.normal(0, 0.3 * ratio, (draws, 1, count))
        + rng.normal(0, 0.3, (1, subjects, count))
        + rng.normal(0, 0.15, size)
    )


def of_methods(
    shape: str, draws: int, subjects: int, ratio: float, kind: str, count: int, seed: int
) -> dict[str, Any]:
    """Return how often two equal methods differ by p < .05.

    Args:
        shape: "normal" scores or "dice", which are bounded and skewed.
        draws, subjects: of which every combination is tested.
        ratio: standard deviation over draws as a share of that over subjects, of an arm's
            difference to the other.
        kind: "shared" draws, "own" ones, "uneven": own ones and twice as many in the second arm,
            or "gaps": shared, and one score of ten is missing.
        count: of repetitions.
        seed: of all.
    """
    rng = np.random.default_rng((seed, draws, subjects, int(100 * ratio)))
    common = rng.normal(1.5, 0.8, (1, subjects, count))
    numbers = (draws, draws * (2 if kind == "uneven" else 1))
    tables = [of_arm(rng, (k, subjects, count), common, ratio) for k in numbers]
    if shape == "dice":
        tables = [expit(table) for table in tables]
    if kind == "gaps":
        tables = [np.where(rng.random(t.shape) < 0.1, np.nan, t) for t in tables]
    shared = kind in ("shared", "gaps")
    names = [[f"{'' if shared else arm}{k}" for k in range(n)] for arm, n in enumerate(numbers)]
    p = Crossed(tables, names, np.arange(subjects)).contrast(1, -1).differs()
    about = {"what": "test of equal methods", "shape": shape, "draws": draws, "kind": kind}
    return about | {"subjects": subjects, "ratio": ratio, "rejected": 100 * np.mean(p < 0.05)}


def of_shares(draws: int, subjects: int, ratio: float, count: int, seed: int) -> dict[str, Any]:
    """Return how often the interval of the share of a gap that is closed, one half, holds it.

    `unknown` is how often it has no ends, since the gap (.1 Dice) may be 0.
    """
    rng = np.random.default_rng((seed, draws, subjects, int(100 * ratio), 1))
    common = rng.normal(0.8, 0.06, (1, subjects, count))
    tables = [
        common + level + 0.1 * of_arm(rng, (draws, subjects, count), np.zeros(1), ratio)
        for level in (0.05, 0.0, 0.1)
    ]
    names = [[str(k) for k in range(draws)]] * 3
    _, low, high = Crossed(tables, names, np.arange(subjects)).ratio(0.95)
    known = ~np.isnan(low)
    about = {"what": "share of a gap", "draws": draws, "subjects": subjects, "ratio": ratio}
    covered = 100 * np.mean(((low <= 0.5) & (high >= 0.5)) | ~known)
    return about | {"covered": covered, "unknown": 100 * np.mean(~known)}


def jobs(count: int, seed: int) -> Iterator[Callable[[], dict[str, Any]]]:
    """Yield what is to be simulated."""
    for shape, n, scans in itertools.product(SHAPES, SUBJECTS, ("1", "1-3")):
        yield partial(of_means, shape, n, scans, count, seed)
    every, some = ((3, 5, 10), (3, 4, 8, 20, 40)), ((3, 10), (4, 20))
    designs = {("normal", "shared"): every, ("dice", "shared"): some}
    designs |= {("normal", kind): some for kind in ("own", "uneven", "gaps")}
    for (shape, kind), design in designs.items():
        for k, n, ratio in itertools.product(*design, RATIOS):
            yield partial(of_methods, shape, k, n, ratio, kind, count, seed)
    for k, n, ratio in itertools.product((3, 5), (4, 12, 40), RATIOS):
        yield partial(of_shares, k, n, ratio, count, seed)


def main() -> None:
    """Simulate what `results.csv` lacks, and write it there."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=3000, help="repetitions of each")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path, default=HERE / "results.csv")
    options = parser.parse_args()
    columns = ["what", "shape", "kind", "scans", "draws", "subjects", "ratio"]
    columns += ["covered", "rejected", "unknown"]
    begun = options.output.exists()
    done = len(options.output.read_text(encoding="utf-8").splitlines()) - 1 if begun else 0
    with options.output.open("a", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, columns, lineterminator="\n")
        if not begun:
            writer.writeheader()
        left = [*jobs(options.count, options.seed)][done:]
        with progress_bar("setting", total=len(left)) as bar:
            for job in left:
                row = job().items()
                writer.writerow({k: round(v, 2) if isinstance(v, float) else v for k, v in row})
                file.flush()
                bar.advance()


if __name__ == "__main__":
    main()
