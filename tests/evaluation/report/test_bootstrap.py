"""Bootstrap intervals with known answers."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from neoseg.evaluation.report.bootstrap import cluster_sums, mean_intervals

NAN = float("nan")


def test_two_subjects_have_three_outcomes() -> None:
    """(a, a), (a, b), (b, b) with 1/4, 1/2, 1/4: a 95 % interval spans both, a 40 % one is b."""
    values, subjects = np.array([[1.0], [5.0]]), np.array(["a", "b"])
    assert [e.item() for e in mean_intervals(values, subjects)] == [1.0, 5.0]
    assert [e.item() for e in mean_intervals(values, subjects, level=0.4)] == [3.0, 3.0]


def test_intervals_are_the_percentiles_of_all_resamples() -> None:
    """Three subjects, one with two scans: the 27 resamples are few enough to write down."""
    values, subjects = np.array([0.1, 0.5, 0.9, 0.4]), np.array(["a", "b", "b", "c"])
    groups = [values[subjects == name] for name in "abc"]
    means = [
        np.concatenate([groups[k] for k in chosen]).mean()
        for chosen in itertools.product(range(3), repeat=3)
    ]
    low, high = mean_intervals(values[:, None], subjects, level=0.8, resamples=20_000)
    # The outcomes are few and far apart, so the estimate hits them exactly.
    expected = np.percentile(means, [10, 90])
    assert [low.item(), high.item()] == pytest.approx(expected.tolist(), abs=1e-9)


def test_sessions_of_a_subject_stay_together() -> None:
    """Scans that only repeat their subject must not make the interval narrower."""
    rng = np.random.default_rng(0)
    per_subject = rng.normal(size=12)
    names = np.array([f"s{k}" for k in range(12)])
    once = mean_intervals(per_subject[:, None], names)
    thrice = mean_intervals(np.repeat(per_subject, 3)[:, None], np.repeat(names, 3))
    assert np.allclose(once, thrice, atol=1e-12)
    independent = np.array([f"s{k}" for k in range(36)])
    narrower = mean_intervals(np.repeat(per_subject, 3)[:, None], independent)
    assert narrower[1] - narrower[0] < 0.75 * (once[1] - once[0])


def test_coverage_is_as_promised() -> None:
    """Of many samples from a normal distribution about 90 % of the intervals hold its mean."""
    rng = np.random.default_rng(1)
    values = rng.normal(2.0, 1.0, size=(40, 600))
    low, high = mean_intervals(values, np.arange(40).astype(str), level=0.9, resamples=1000)
    assert ((low < 2) & (high > 2)).mean() == pytest.approx(0.89, abs=0.03)


def test_what_is_missing_is_left_out() -> None:
    values = np.array([[1.0, NAN, 3.0], [5.0, NAN, NAN], [NAN, NAN, NAN]])
    low, high = mean_intervals(values, np.array(["a", "b", "c"]))
    assert (low[0], high[0]) == (1.0, 5.0)
    assert np.isnan([low[1], high[1], low[2], high[2]]).all()


def test_the_seed_decides() -> None:
    values = np.random.default_rng(0).normal(size=(9, 300))
    names = np.array(list("abcdefghi"))
    one, same = (mean_intervals(values, names, seed=3) for _ in range(2))
    assert np.array_equal(one, same)
    assert not np.array_equal(one, mean_intervals(values, names, seed=4))


def test_cluster_sums() -> None:
    sums, counts = cluster_sums(np.array([[1.0], [2.0], [NAN]]), np.array([1, 1, 0]), 2)
    assert sums.tolist() == [[0.0], [3.0]]
    assert counts.tolist() == [[0.0], [2.0]]
