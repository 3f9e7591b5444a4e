"""A curve through trainings on different labels: what it finds, and what it promises."""

from __future__ import annotations

import numpy as np
import pytest

from neoseg.trust import learning_curve
from neoseg.trust.learning_curve import LearningCurve

COUNTS = np.array([[2, 0], [2, 20], [4, 0], [4, 40], [8, 10], [16, 0]], dtype=float).repeat(2, 0)
DEPTHS = ("full", "coarse")


def dice_of(
    counts: np.ndarray, rate: float, worth: float, top: float = 0.9, span: float = 0.2
) -> np.ndarray:
    found: np.ndarray = top - span * (counts[:, 0] + worth * counts[:, 1]) ** -rate
    return found


def test_it_finds_what_the_trainings_follow() -> None:
    noise = 0.001 * np.random.default_rng(0).standard_normal(len(COUNTS))
    curve = LearningCurve.fit(DEPTHS, COUNTS, dice_of(COUNTS, 0.5, 0.25) + noise)
    more = np.array([[32.0, 0], [2, 60]])
    middle, low, high = curve.predict(more).T
    assert middle == pytest.approx(dice_of(more, 0.5, 0.25), abs=0.004)
    assert (high - low).max() < 0.02
    assert np.median(curve.worth[:, 1]) == pytest.approx(0.25, abs=0.03)
    assert np.median(curve.rate) == pytest.approx(0.5, abs=0.15)
    gain = curve.gain(more, np.array([2.0, 0]))
    assert gain[:, 0] == pytest.approx(
        dice_of(more, 0.5, 0.25) - dice_of(COUNTS[:1], 0.5, 0.25), abs=0.005
    )
    assert curve.gain(COUNTS[:1], COUNTS[0])[0] == pytest.approx([0, 0, 0])


def test_intervals_hold_the_next_training(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(learning_curve, "_PARTICLES", 300)
    chance, held, wide = np.random.default_rng(4), 0, []
    more = np.array([[30.0, 20]])
    for _ in range(20):
        rate, worth = chance.uniform(0.2, 1.4), chance.uniform()
        every = dice_of(np.concatenate([COUNTS, more]), rate, worth, chance.uniform(0.8, 0.95))
        left = every.max() + 1e-3 - every
        spread = chance.uniform(0.003, 0.02) * (0.2 + 0.8 * left / left.max())
        every += spread * chance.standard_normal(len(every))
        _, low, high = LearningCurve.fit(DEPTHS, COUNTS, every[:-1]).predict(more)[0]
        held += low <= every[-1] <= high
        wide.append(high - low)
    assert held >= 17
    assert np.median(wide) < 0.05


def test_what_was_never_tried_stays_open() -> None:
    counts = COUNTS * [1, 0]
    curve = LearningCurve.fit(DEPTHS, counts, dice_of(counts, 0.5, 0))
    low, high = np.quantile(curve.worth[:, 1], [0.05, 0.95])
    assert low < 0.15
    assert high > 0.85


@pytest.mark.parametrize(
    ("counts", "dice", "says"),
    [
        (COUNTS[:3], np.array([0.7, 0.7, 0.8]), "3 trainings"),
        (COUNTS[:4], np.array([0.7, 0.7, 0.8, 0.8]), "2 different amounts"),
        (COUNTS, 1 - dice_of(COUNTS, 1.0, 0.5, 0.9, 0.9), "does not rise"),
    ],
)
def test_what_no_curve_goes_through(counts: np.ndarray, dice: np.ndarray, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        LearningCurve.fit(DEPTHS, counts, dice)
