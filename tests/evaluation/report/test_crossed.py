"""Contrasts over draws and subjects, by hand and by the mean squares of a textbook."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from neoseg.evaluation.report.crossed import Crossed

RNG = np.random.default_rng(0)
DRAWS = [list("012")] * 3


def arms(number: int, draws: int = 3, subjects: int = 6) -> list[np.ndarray]:
    common = RNG.normal(size=(1, subjects, 2))
    return [common + RNG.normal(0, 0.3, (draws, subjects, 2)) + 0.3 * n for n in range(number)]


def test_variance_is_that_of_the_crossed_layout() -> None:
    """Mean squares of draws, subjects and the rest: (d + s - r) / (draws * subjects)."""
    tables = [t + RNG.normal(0, 1, (3, 1, 2)) + RNG.normal(0, 1, (1, 6, 2)) for t in arms(2)]
    found = Crossed(tables, DRAWS[:2], np.arange(6)).contrast(1, -1)
    d = (tables[0] - tables[1])[..., 0]
    draws = 6 * d.mean(axis=1).var(ddof=1)
    subjects = 3 * d.mean(axis=0).var(ddof=1)
    away = d - d.mean(axis=1, keepdims=True) - d.mean(axis=0) + d.mean()
    rest = (away**2).sum() / 10
    assert min(draws, subjects) > rest
    assert found.value[0] == pytest.approx(d.mean())
    assert found.variance[0] == pytest.approx((draws + subjects - rest) / 18)
    assert 2 <= found.freedom[0] <= 7


def test_interval_and_p_agree() -> None:
    found = Crossed(arms(2), DRAWS[:2], np.arange(6)).contrast(1, -1)
    for p, low, high in zip(found.differs(), *found.interval(1 - found.differs()), strict=True):
        assert 0 < p < 1
        assert min(abs(low), abs(high)) == pytest.approx(0, abs=1e-9)
    assert found.above(-0.1) == pytest.approx(1 - found.below(-0.1))


def test_a_shared_draw_cancels_and_one_of_its_own_does_not() -> None:
    luck = RNG.normal(0, 2, (3, 1, 1))
    tables = [table + luck for table in arms(2)]
    shared = Crossed(tables, DRAWS[:2], np.arange(6)).contrast(1, -1)
    own = Crossed(tables, [list("abc"), list("def")], np.arange(6)).contrast(1, -1)
    assert (own.variance > 5 * shared.variance).all()
    assert own.value == pytest.approx(shared.value)


def test_few_draws_are_networks_and_few_subjects_are_nothing() -> None:
    tables = [table[:1] for table in arms(2)]
    crossed = Crossed(tables, [["0"], ["0"]], np.arange(6))
    found = crossed.contrast(1, -1)
    assert not crossed.methods
    expected = stats.ttest_rel(tables[0][0], tables[1][0]).pvalue
    assert found.differs() == pytest.approx(expected)
    tables = [table[:, :2] for table in arms(2)]
    assert np.isnan(Crossed(tables, DRAWS[:2], np.arange(2)).contrast(1, -1).differs()).all()


def test_missing_scores_do_not_move_what_is_additive() -> None:
    base = RNG.normal(size=(3, 1, 1)) + RNG.normal(size=(1, 6, 1))
    holes = base.copy()
    holes[0, 1], holes[2, 4] = np.nan, np.nan
    found = [Crossed([t, 0 * base], DRAWS[:2], np.arange(6)).contrast(1, -1) for t in (base, holes)]
    assert found[1].value == pytest.approx(found[0].value, abs=1e-4)
    holes[:, 0] = np.nan
    assert Crossed([holes, base], DRAWS[:2], np.arange(6)).subjects == 5


def test_share_of_a_gap_holds_what_is_no_different_from_zero() -> None:
    """At the ends of Fieller's interval the contrast is just about to be significant."""
    second, first, third = (0.1 * t + n for n, t in enumerate(arms(3, draws=4, subjects=20)))
    draws = [list("0123")] * 3
    crossed = Crossed([first, second, third], draws, np.arange(20))
    share, low, high = crossed.ratio(0.95)
    assert ((low < share) & (share < high)).all()
    assert share == pytest.approx(np.full(2, 0.5), abs=0.05)
    for end in (low, high):
        assert crossed.contrast(1, end - 1, -end).differs() == pytest.approx(
            np.full(2, 0.05), abs=0.01
        )
    nowhere = Crossed(
        [first, second, second + RNG.normal(0, 1, second.shape)], draws, np.arange(20)
    )
    assert np.isnan(nowhere.ratio(0.95)[1]).all()


def test_one_subject_has_a_difference_and_no_test() -> None:
    """So do two scans of one, and a quantity that only one of six subjects has."""
    for scans, people in ((1, [0]), (2, [0, 0]), (6, range(6))):
        tables = [table[:, :scans] for table in arms(2)]
        for table in tables:
            table[:, 1:, 1] = np.nan
        found = Crossed(tables, DRAWS[:2], np.array(people)).contrast(1, -1)
        assert found.value[0] == pytest.approx((tables[0] - tables[1])[..., 0].mean())
        assert found.value[1] == pytest.approx((tables[0] - tables[1])[:, 0, 1].mean())
        assert np.isnan(found.differs()[1])
