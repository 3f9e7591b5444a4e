"""Does the interval of the learning curve hold the Dice of a new training?

Trainings are simulated whose mean Dice follows a known curve. From a few of them the curve is
learnt; counted is how often its 95 % interval holds a further training.

    python experiments/annotation_plan/coverage.py --count 200
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from neoseg.progress import progress_bar
from neoseg.trust.learning_curve import LearningCurve


@dataclass(frozen=True)
class Case:
    """A true curve, the amounts that were trained with, and the one that is asked for."""

    name: str
    truth: Callable[[float], float]
    noise: float
    amounts: tuple[int, ...]
    target: int


def power(top: float, span: float, rate: float) -> Callable[[float], float]:
    """Return the curve that is assumed."""
    return lambda amount: top - span * amount**-rate


USUAL = (2, 4, 8, 16, 16)
CASES = (
    Case("power law, four times the most labels", power(0.9, 0.3, 0.5), 0.01, USUAL, 64),
    Case("power law, twice the most labels", power(0.9, 0.3, 0.5), 0.01, USUAL, 32),
    Case("more labels bring nothing", lambda _: 0.85, 0.01, USUAL, 64),
    Case("a steep rise, rate 2", power(0.9, 0.8, 2.0), 0.01, (2, 3, 4, 6, 8), 32),
    Case("trainings differ by .05", power(0.9, 0.3, 0.5), 0.05, USUAL, 64),
    Case("logarithmic, no power law", lambda a: 0.5 + 0.08 * np.log(a), 0.01, USUAL, 64),
)


def row_of(case: Case, count: int, advance: Callable[[str], None]) -> str:
    """Return how often the interval holds a new training, its mean width, and samples refused.

    Trainings whose Dice does not rise with their labels are refused.
    """
    rng = np.random.default_rng(0)
    held, widths = 0, list[float]()
    for _ in range(count):
        advance(case.name)
        dice = [case.truth(amount) + rng.normal(0, case.noise) for amount in case.amounts]
        amounts = np.array(case.amounts, float)[:, None]
        try:
            curve = LearningCurve.fit(("full",), amounts, np.clip(dice, 0, 1))
        except ValueError:
            continue
        _, low, high = curve.predict(np.array([[case.target]], float))[0]
        held += low <= case.truth(case.target) + rng.normal(0, case.noise) <= high
        widths.append(high - low)
    share, refused = held / max(1, len(widths)), count - len(widths)
    return f"| {case.name} | {100 * share:.0f} % | {np.mean(widths):.3f} | {refused} |"


def main() -> None:
    """Print a row for each case."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=200, help="samples of each case")
    count = parser.parse_args().count
    rows = []
    with progress_bar("simulate", total=len(CASES) * count) as bar:
        for case in CASES:
            rows.append(row_of(case, count, bar.advance))
    print("\n".join(("| truth | held | width | refused |", "| --- | ---: | ---: | ---: |", *rows)))


if __name__ == "__main__":
    main()
