"""Intervals of means with known answers."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import special, stats

from neoseg.evaluation.report.intervals import mean_intervals, of_subjects

NAN = float("nan")
NAMES = np.array(list("abcdefghijkl"))


def test_symmetric_differences_have_the_interval_of_student() -> None:
    values = np.array([-0.3, -0.1, 0.1, 0.3]) + 0.05
    low, high = mean_intervals(values[:, None], NAMES[:4], most=NAN)
    t = stats.t.interval(0.95, 3, loc=0.05, scale=stats.sem(values))
    assert [low.item(), high.item()] == pytest.approx(t, abs=1e-5)


@pytest.mark.parametrize(
    ("most", "there", "back"), [(1.0, special.logit, special.expit), (np.inf, np.log, np.exp)]
)
def test_scores_are_taken_on_a_scale_without_ends(most, there, back) -> None:
    """By the delta method: the error of the mean times the slope of the scale at it."""
    values = np.array([0.75, 0.8, 0.85])
    slope = 1 / (0.8 * 0.2) if most == 1 else 1 / 0.8
    half = stats.t.ppf(0.95, 2) * stats.sem(values) * slope
    expected = back(there(0.8) + half * np.array([-1, 1]))
    low, high = mean_intervals(values[:, None], NAMES[:3], level=0.9, most=most)
    assert [low.item(), high.item()] == pytest.approx(expected.tolist(), abs=1e-5)
    low, high = mean_intervals(np.array([[0.99], [0.98], [0.5]]), NAMES[:3])
    assert low >= 0
    low, high = mean_intervals(np.array([[0.99], [0.98], [0.5]]), NAMES[:3], most=1)
    assert 0 < low < high < 1


def test_a_long_tail_makes_its_side_longer() -> None:
    values = np.array([0.9, 0.9, 0.91, 0.89, 0.9, 0.5])[:, None]
    low, high = mean_intervals(values, NAMES[:6], most=NAN)
    assert values.mean() - low > 1.5 * (high - values.mean())


def test_fewer_than_three_subjects_have_none() -> None:
    values = np.array([[1.0, NAN, 3.0, 0.2], [5.0, NAN, NAN, 0.2], [3.0, NAN, 2.0, 0.2]])
    low, high = mean_intervals(values, np.array(["a", "b", "c"]))
    assert np.isnan([low[1], high[1], low[2], high[2]]).all()
    assert low[0] < 3 < high[0]
    assert (low[3], high[3]) == pytest.approx((0.2, 0.2))  # nothing varies
    assert np.isnan(mean_intervals(values, np.array(["a", "b", "b"]))).all()


def test_sessions_of_a_subject_stay_together() -> None:
    """Scans that only repeat their subject must not make the interval narrower."""
    per_subject = np.random.default_rng(0).normal(size=(12, 1))
    once = mean_intervals(per_subject, NAMES, most=NAN)
    thrice = mean_intervals(np.repeat(per_subject, 3, axis=0), np.repeat(NAMES, 3), most=NAN)
    assert np.allclose(once, thrice, atol=1e-12)


def test_subjects_count_by_their_scans() -> None:
    values = np.array([[1.0], [2.0], [4.0], [6.0], [NAN]])
    found = of_subjects(values, np.array([0, 1, 1, 1, 2]), 4)
    assert found.mean.item() == found.table[:2].mean() == 13 / 4
    assert np.isnan(found.table[2:]).all()
    assert (found.count.item(), found.freedom.item() < 1) == (2, True)
    alone = of_subjects(np.array([[1.0], [2.0], [NAN]]), np.array([0, 0, 1]), 2)
    assert alone.table.ravel() == pytest.approx([1.5, NAN], nan_ok=True)
    equal = of_subjects(np.arange(4.0)[:, None], np.array([0, 1, 2, 3]), 4)
    assert equal.table.ravel().tolist() == [0, 1, 2, 3]
    assert equal.freedom.item() == pytest.approx(3)
