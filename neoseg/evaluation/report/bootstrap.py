"""Confidence intervals of means over scans whose subjects were drawn, not the scans."""

from __future__ import annotations

import numpy as np

LEVEL = 0.95
RESAMPLES = 2000
_BLOCK = 256


def mean_intervals(
    values: np.ndarray,
    subjects: np.ndarray,
    *,
    level: float = LEVEL,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> tuple[np.ndarray, np.ndarray]:
    """Return bootstrap percentile intervals of the mean over scans, clustered by subject.

    Each resample draws as many subjects as there are, with replacement, and takes all scans of
    each: the sessions of a subject are not independent (Field and Welsh, JRSS B 2007).

    Args:
        values: `[n, m]`, a row per scan and a column per quantity; NaN is left out.
        subjects: `[n]`, whose scan each row is.
        level: coverage, 0 to 1.
        resamples: number of resamples.
        seed: of the resampling; equal inputs give equal intervals.

    Returns:
        Lower and upper ends `[m]`; NaN for a column with values of fewer than two subjects.
    """
    names, place = np.unique(np.asarray(subjects, dtype=str), return_inverse=True)
    sums, counts = cluster_sums(np.asarray(values, dtype=float), place, len(names))
    rng = np.random.default_rng(seed)
    drawn = rng.integers(len(names), size=(resamples, len(names)))
    weights = np.stack([np.bincount(row, minlength=len(names)) for row in drawn]).astype(float)
    columns = values.shape[1]
    low, high = np.full(columns, np.nan), np.full(columns, np.nan)
    enough = np.flatnonzero((counts > 0).sum(axis=0) >= 2)
    tails = [50 * (1 - level), 50 * (1 + level)]
    for start in range(0, len(enough), _BLOCK):
        block = enough[start : start + _BLOCK]
        with np.errstate(invalid="ignore"):  # a resample without a value has no mean
            means = (weights @ sums[:, block]) / (weights @ counts[:, block])
        low[block], high[block] = np.nanpercentile(means, tails, axis=0)
    return low, high


def cluster_sums(
    values: np.ndarray, place: np.ndarray, clusters: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return the sums and the number of values of each cluster, both `[clusters, m]`.

    Args:
        values: `[n, m]`; NaN is left out.
        place: `[n]`, the cluster of each row, 0 to clusters - 1.
        clusters: their number.
    """
    given = ~np.isnan(values)
    sums, counts = np.zeros((2, clusters, values.shape[1]))
    np.add.at(sums, place, np.where(given, values, 0.0))
    np.add.at(counts, place, given.astype(float))
    return sums, counts
