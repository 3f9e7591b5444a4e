"""Significance tests, correction for multiple tests, and effect sizes."""

import itertools
import warnings
from collections.abc import Sequence

import numpy as np
from scipy import stats

_MAX_EXACT = 12
"""Maximum number of subjects for which all 2^n sign patterns are enumerated."""

_NUM_PATTERNS = 10_000
_BLOCK_COLUMNS = 256


def wilcoxon(differences: np.ndarray) -> np.ndarray:
    """Return two-sided p-values of Wilcoxon's signed-rank test, per column.

    Differences of 0 are left out. Up to 12 units the test is exact, even with ties, by enumerating
    all sign patterns; beyond that SciPy's test is used.

    Args:
        differences: `[n, m]` paired differences of independent units; NaN is ignored.

    Returns:
        `[m]`; 1 if all differences of a column are 0, NaN if it has none.
    """
    if len(differences) <= _MAX_EXACT:
        p = sign_flips(_signed_ranks(differences))
    else:
        with warnings.catch_warnings(), np.errstate(invalid="ignore"):
            warnings.simplefilter("ignore")  # few or equal differences: visible in the result
            p = np.ones(differences.shape[1])
            varied = (np.nan_to_num(differences) != 0).sum(axis=0) >= 2
            result = stats.wilcoxon(differences[:, varied], axis=0, nan_policy="omit")
            p[varied] = result.pvalue
    return np.where(np.isnan(differences).all(axis=0), np.nan, p)


def sign_flips(sums: np.ndarray, seed: int = 0) -> np.ndarray:
    """Return two-sided p-values of a paired permutation test, per column.

    Under the null hypothesis the two arms are exchangeable within a subject, so the differences
    of all scans of a subject change sign together. The statistic is the sum of all differences
    (the mean, up to a factor). Up to 12 subjects all sign patterns are enumerated; beyond that
    10,000 are sampled, and the observed pattern is counted too (Phipson and Smyth, 2010).

    Args:
        sums: `[n, m]`, sum of the paired differences of each subject; 0 for a subject without any.
        seed: seed of the sampled patterns.

    Returns:
        `[m]`; NaN without subjects.
    """
    count, columns = sums.shape
    if not count:
        return np.full(columns, np.nan)
    exact = count <= _MAX_EXACT
    if exact:
        signs = np.array(list(itertools.product((-1.0, 1.0), repeat=count)))
    else:
        signs = np.random.default_rng(seed).choice((-1.0, 1.0), size=(_NUM_PATTERNS, count))
    p = np.empty(columns)
    for start in range(0, columns, _BLOCK_COLUMNS):
        block = sums[:, start : start + _BLOCK_COLUMNS]
        # Patterns that equal the observed sum up to rounding must count.
        slack = 1e-12 * np.abs(block).sum(axis=0)
        extreme = (np.abs(signs @ block) >= np.abs(block.sum(axis=0)) - slack).sum(axis=0)
        p[start : start + _BLOCK_COLUMNS] = (
            extreme / len(signs) if exact else (extreme + 1) / (_NUM_PATTERNS + 1)
        )
    return p


def smallest_p(subjects: np.ndarray) -> np.ndarray:
    """Return the smallest p-value that `sign_flips` can give for numbers of subjects `[m]`."""
    return np.maximum(2.0 ** (1 - subjects), (subjects > _MAX_EXACT) / (_NUM_PATTERNS + 1))


def holm(p: Sequence[float] | np.ndarray) -> np.ndarray:
    """Return p-values adjusted by Holm's step-down method (1979); NaN is kept and not counted."""
    values = np.asarray(p, dtype=float)
    adjusted = np.full(values.shape, np.nan)
    valid = np.flatnonzero(~np.isnan(values))
    order = valid[np.argsort(values[valid], kind="stable")]
    steps = np.arange(len(order), 0, -1) * values[order]
    adjusted[order] = np.minimum(np.maximum.accumulate(steps), 1.0)
    return adjusted


def anova(groups: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Return F and p of a one-way analysis of variance of independent groups, per column.

    Args:
        groups: arrays `[n, m]` with a row per unit; n may differ between groups, NaN is ignored.

    Returns:
        Two arrays `[m]`; NaN if a group is empty, if no group has two values, or if all values are
        equal.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # constant and empty groups: visible in the result
        result = stats.f_oneway(*groups, axis=0, nan_policy="omit")
    columns = groups[0].shape[1]  # f_oneway gives a single NaN for groups of one row
    return np.full(columns, result.statistic), np.full(columns, result.pvalue)


def cohens_d(differences: np.ndarray) -> np.ndarray:
    """Return the mean of paired differences over their standard deviation (d_z), per column.

    NaN for fewer than two differences, or if they vary by no more than rounding.
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

    The share of the rank sum in favour of the first arm minus that in favour of the second, -1 to
    1; differences of 0 are left out. NaN if all are 0.
    """
    ranks = _signed_ranks(differences)
    total = np.abs(ranks).sum(axis=0)
    with np.errstate(invalid="ignore"):
        return np.where(total > 0, ranks.sum(axis=0) / total, np.nan)


def _signed_ranks(differences: np.ndarray) -> np.ndarray:
    """Return signed ranks of absolute differences, per column; ties get their mean, 0 and NaN 0."""
    ranks = np.zeros(differences.shape)
    for column, values in enumerate(differences.T):
        valid = ~np.isnan(values) & (values != 0)
        ranks[valid, column] = np.sign(values[valid]) * stats.rankdata(np.abs(values[valid]))
    return ranks
