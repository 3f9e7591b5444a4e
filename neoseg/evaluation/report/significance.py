"""Tests of differences, their correction for many tests, and effect sizes."""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Sequence

import numpy as np
from scipy import stats

_EXACT = 12
"""Subjects up to which all 2^n patterns of signs are tried."""

_DRAWN = 10_000
_BLOCK = 256


def wilcoxon(differences: np.ndarray) -> np.ndarray:
    """Return two-sided p-values of Wilcoxon's signed-rank test, a column at a time.

    Differences of 0 are left out. Up to 12 units the test is exact, ties or not, by all patterns
    of signs; beyond that it is SciPy's.

    Args:
        differences: `[n, m]` paired differences of independent units, NaN left out.

    Returns:
        `[m]`; 1 where every difference is 0, NaN where there is none.
    """
    if len(differences) <= _EXACT:
        p = sign_flips(_signed_ranks(differences))
    else:
        with warnings.catch_warnings(), np.errstate(invalid="ignore"):
            warnings.simplefilter("ignore")  # few or equal differences: the result says it
            p = np.ones(differences.shape[1])
            varied = (np.nan_to_num(differences) != 0).sum(axis=0) >= 2
            result = stats.wilcoxon(differences[:, varied], axis=0, nan_policy="omit")
            p[varied] = result.pvalue
    return np.where(np.isnan(differences).all(axis=0), np.nan, p)


def sign_flips(sums: np.ndarray, seed: int = 0) -> np.ndarray:
    """Return two-sided p-values of a paired permutation test, a column at a time.

    Under the null hypothesis the two arms are exchangeable within a subject, so the differences
    of all scans of a subject change sign together. The statistic is the sum of all differences
    (the mean, up to a factor). Up to 12 subjects all patterns of signs are tried; beyond that
    10000 are drawn, and the observed pattern counts among them (Phipson and Smyth, 2010).

    Args:
        sums: `[n, m]`, the sum of the paired differences of each subject; 0 where it has none.
        seed: of the drawn patterns.

    Returns:
        `[m]`; NaN without subjects.
    """
    count, columns = sums.shape
    if not count:
        return np.full(columns, np.nan)
    exact = count <= _EXACT
    if exact:
        signs = np.array(list(itertools.product((-1.0, 1.0), repeat=count)))
    else:
        signs = np.random.default_rng(seed).choice((-1.0, 1.0), size=(_DRAWN, count))
    p = np.empty(columns)
    for start in range(0, columns, _BLOCK):
        block = sums[:, start : start + _BLOCK]
        # Patterns that give the observed sum must count, whatever the order of the additions.
        slack = 1e-12 * np.abs(block).sum(axis=0)
        extreme = (np.abs(signs @ block) >= np.abs(block.sum(axis=0)) - slack).sum(axis=0)
        p[start : start + _BLOCK] = extreme / len(signs) if exact else (extreme + 1) / (_DRAWN + 1)
    return p


def smallest_p(subjects: np.ndarray) -> np.ndarray:
    """Return the smallest p-value that flips of the signs of so many subjects `[m]` can give."""
    return np.maximum(2.0 ** (1 - subjects), (subjects > _EXACT) / (_DRAWN + 1))


def holm(p: Sequence[float] | np.ndarray) -> np.ndarray:
    """Return p-values adjusted by Holm's step-down method (1979); NaN stays and does not count."""
    values = np.asarray(p, dtype=float)
    adjusted = np.full(values.shape, np.nan)
    given = np.flatnonzero(~np.isnan(values))
    order = given[np.argsort(values[given], kind="stable")]
    steps = np.arange(len(order), 0, -1) * values[order]
    adjusted[order] = np.minimum(np.maximum.accumulate(steps), 1.0)
    return adjusted


def anova(groups: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Return F and p of a one-way analysis of variance of independent groups, per column.

    Args:
        groups: arrays `[n, m]` with a row per unit; the n may differ, NaN is left out.

    Returns:
        Two arrays `[m]`; NaN where a group is empty, where no group has two values, or where
        nothing varies.
    """
    counts = np.array([(~np.isnan(group)).sum(axis=0) for group in groups])
    f, p = np.full((2, counts.shape[1]), np.nan)
    possible = (counts > 0).all(axis=0) & (counts > 1).any(axis=0)
    whole = (counts == [[len(group)] for group in groups]).all(axis=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # constant groups: the result says it
        together = possible & whole
        if together.any():
            result = stats.f_oneway(*(group[:, together] for group in groups), axis=0)
            f[together], p[together] = result.statistic, result.pvalue
        for column in np.flatnonzero(possible & ~whole):
            given = [group[~np.isnan(group[:, column]), column] for group in groups]
            f[column], p[column] = stats.f_oneway(*given)
    return f, p


def cohens_d(differences: np.ndarray) -> np.ndarray:
    """Return the mean of paired differences over their standard deviation (d_z), per column.

    NaN where fewer than two differences are given or they do not vary by more than rounding does.
    """
    count = (~np.isnan(differences)).sum(axis=0)
    with warnings.catch_warnings(), np.errstate(invalid="ignore", divide="ignore"):
        warnings.simplefilter("ignore", RuntimeWarning)
        mean, std = np.nanmean(differences, axis=0), np.nanstd(differences, axis=0, ddof=1)
        return np.where(
            (count >= 2) & (std > 1e-9 * np.maximum(1, np.abs(mean))), mean / std, np.nan
        )


def rank_biserial(differences: np.ndarray) -> np.ndarray:
    """Return the matched-pairs rank-biserial correlation, per column (Kerby, 2014).

    The share of the rank sum that favours the first arm minus the share that favours the second,
    -1 to 1; differences of 0 are left out. NaN where all are 0.
    """
    ranks = _signed_ranks(differences)
    total = np.abs(ranks).sum(axis=0)
    with np.errstate(invalid="ignore"):
        return np.where(total > 0, ranks.sum(axis=0) / total, np.nan)


def _signed_ranks(differences: np.ndarray) -> np.ndarray:
    """Rank the sizes of the differences of each column, ties by their mean; 0 has rank 0."""
    ranks = np.zeros(differences.shape)
    for column, values in enumerate(differences.T):
        kept = ~np.isnan(values) & (values != 0)
        ranks[kept, column] = np.sign(values[kept]) * stats.rankdata(np.abs(values[kept]))
    return ranks
