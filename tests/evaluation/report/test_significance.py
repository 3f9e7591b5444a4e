"""Tests, corrections and effect sizes with answers that can be worked out by hand."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from scipy import stats

from neoseg.evaluation.report.significance import (
    anova,
    cohens_d,
    holm,
    rank_biserial,
    sign_flips,
    smallest_p,
    wilcoxon,
)

NAN = float("nan")


def column(*values: float) -> np.ndarray:
    return np.array(values)[:, None]


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ((1, 2, 3), 2 / 8),
        ((1, 2, 3, 4, 5), 2 / 32),
        ((-1, 2, 3, 4, 5), 4 / 32),  # rank sums of 14 and 15 on either side
        ((1, 1, 1), 2 / 8),  # ties
        ((3, 0, 0), 1.0),  # one difference is left
        ((0, 0), 1.0),
        ((NAN, 2, 1), 2 / 4),
    ],
)
def test_wilcoxon_by_hand(values, expected) -> None:
    assert wilcoxon(column(*values)).item() == pytest.approx(expected)


def test_wilcoxon_of_more_subjects_is_that_of_scipy() -> None:
    rng = np.random.default_rng(0)
    differences = rng.normal(0.3, 1, size=(20, 6))
    differences[:5, 1] = NAN
    differences[:3, 2] = 0
    found = wilcoxon(differences)
    for number, values in enumerate(differences.T):
        expected = stats.wilcoxon(values[~np.isnan(values)]).pvalue
        assert found[number] == pytest.approx(expected, abs=1e-12)
    few = differences[:10, [0, 3, 4]]
    exact = [stats.wilcoxon(values, method="exact").pvalue for values in few.T]
    assert wilcoxon(few) == pytest.approx(exact, abs=1e-12)


def test_wilcoxon_without_differences_is_not_applicable() -> None:
    assert np.isnan(wilcoxon(column(NAN, NAN))).all()
    assert np.isnan(wilcoxon(np.full((20, 1), NAN))).all()


def test_sign_flips_by_enumeration() -> None:
    values = np.array([0.3, -0.1, 0.4, 0.2, 0.25])
    sums = [abs(np.dot(signs, values)) for signs in itertools.product((-1, 1), repeat=len(values))]
    expected = np.mean([total >= abs(values.sum()) - 1e-12 for total in sums])
    assert sign_flips(values[:, None]).item() == expected
    assert sign_flips(column(1, 1, 1)).item() == 2 / 8
    assert sign_flips(column(1, -1)).item() == 1.0
    assert sign_flips(column(0, 0)).item() == 1.0
    assert np.isnan(sign_flips(np.zeros((0, 2)))).all()


def test_the_smallest_p_is_reached() -> None:
    for count in (3, 12, 30):
        assert smallest_p(np.array([count])) == sign_flips(np.ones((count, 1)))


def test_drawn_sign_flips_come_near_the_exact_ones() -> None:
    rng = np.random.default_rng(5)
    sums = rng.normal(0.25, 1, size=(14, 30))
    signs = np.array(list(itertools.product((-1.0, 1.0), repeat=14)))
    exact = (np.abs(signs @ sums) >= np.abs(sums.sum(axis=0)) - 1e-12).mean(axis=0)
    assert np.abs(sign_flips(sums) - exact).max() < 0.02
    assert sign_flips(np.ones((30, 1))).item() == pytest.approx(1 / 10_001)


def test_permutation_keeps_its_level() -> None:
    """Without any effect about 5 % of the p-values are below 0.05."""
    sums = np.random.default_rng(2).normal(size=(11, 2000))
    assert (sign_flips(sums) <= 0.05).mean() == pytest.approx(0.05, abs=0.015)


def test_holm_by_hand() -> None:
    """Sorted 0.01, 0.02, 0.03, 0.04 times 4, 3, 2, 1 gives .04, .06, .06, .06."""
    assert holm([0.04, 0.01, NAN, 0.03, 0.02]).tolist() == pytest.approx(
        [0.06, 0.04, NAN, 0.06, 0.06], nan_ok=True
    )
    assert holm([0.5, 0.9]).tolist() == [1.0, 1.0]
    assert holm([0.03]).tolist() == [0.03]
    assert np.isnan(holm([NAN])).all()


def test_anova_by_hand() -> None:
    """Groups 1, 2, 3 and 2, 3, 4: between 1.5 with 1, within 4 with 4 degrees of freedom."""
    first = np.array([[1.0, 1.0], [2.0, 2.0], [3.0, 3.0]])
    second = np.array([[2.0, 2.0], [3.0, 3.0], [4.0, NAN]])
    f, p = anova([first, second])
    assert f[0] == pytest.approx(1.5)
    assert p[0] == pytest.approx(stats.f.sf(1.5, 1, 4))
    t = stats.ttest_ind([1.0, 2, 3], [2.0, 3])
    assert (f[1], p[1]) == (pytest.approx(t.statistic**2), pytest.approx(t.pvalue))


@pytest.mark.parametrize(
    "groups", [([NAN], [1.0]), ([1.0], [2.0]), ([2.0, 2.0], [2.0, 2.0]), ([2.0, NAN], [2.0, NAN])]
)
def test_anova_that_cannot_be_made(groups) -> None:
    f, p = anova([np.array(group)[:, None] for group in groups])
    assert np.isnan([f, p]).all()


def test_effect_sizes_by_hand() -> None:
    differences = np.array([[1.0, 2.0, 0.0], [2.0, -1.0, 0.0], [3.0, NAN, 0.0]])
    assert cohens_d(differences)[:2] == pytest.approx([2.0, 0.5 / np.std([2, -1], ddof=1)])
    assert np.isnan(cohens_d(differences)[2])
    # Ranks 2 for and 1 against of 3.
    assert rank_biserial(differences)[:2] == pytest.approx([1.0, 1 / 3])
    assert np.isnan(rank_biserial(differences)[2])
    assert np.isnan(cohens_d(column(1.0))).all()
    # Equal but for the last digit of a float: no deviation to measure an effect by.
    assert np.isnan(cohens_d(column(0.3, 0.1 + 0.2))).all()
    assert np.isnan(cohens_d(column(0.0, 0.1 + 0.2 - 0.3))).all()
