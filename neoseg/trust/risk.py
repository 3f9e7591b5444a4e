"""Conformal risk control: the maximum doubt that keeps a promised share of correct voxels.

Angelopoulos, Bates, Fisch, Lei, Schuster, "Conformal risk control", ICLR 2024. With n scans that
are exchangeable with the next one and a loss in 0 to 1 that decreases as sets grow, the smallest
sets with

    n / (n + 1) * mean loss + 1 / (n + 1) <= alpha

bound the expected loss of the next scan by alpha, whatever the quality of the network.
"""

import math

import numpy as np

STEPS_PER_DECADE = 32
MIN_DOUBT = 1e-7
"""Doubt below which float32 probabilities are not informative."""


def thresholds() -> np.ndarray:
    """Return the candidate thresholds of doubt, descending: 1 to 0, then -1 (only largest sets).

    The grid is the same for all scans, so the choice among its members is exact.
    """
    count = round(-math.log10(MIN_DOUBT)) * STEPS_PER_DECADE
    return np.array([*(10.0 ** -(np.arange(count + 1) / STEPS_PER_DECADE)), 0.0, -1.0])


GRID = thresholds()


def scans_needed(alpha: float) -> int:
    """Return the minimum number of scans to promise a share of wrong voxels of at most alpha."""
    return max(1, math.ceil(round(1 / alpha - 1, 9)))


def choose(losses: np.ndarray, n: int, alpha: float) -> int | None:
    """Return the index in `GRID` of the largest threshold that keeps the promise.

    Args:
        losses: `[T]`, losses summed over n scans, each decreasing along the grid.
        n: number of scans.
        alpha: maximum expected loss.

    Returns:
        The index; None if no threshold keeps the promise, as with too few scans.
    """
    if n < scans_needed(alpha):
        return None
    bound = (losses + 1) / (n + 1)
    fits = np.flatnonzero(bound <= alpha + 1e-12)
    return int(fits[0]) if len(fits) else None


def tally(doubts: np.ndarray, weights: np.ndarray | None = None) -> np.ndarray:
    """Return for each threshold the total weight of doubts at most that large, float `[T]`.

    At that threshold, the sets of these doubts are not widened.
    """
    ascending = GRID[::-1]
    first = np.searchsorted(ascending, doubts, side="left")  # smallest threshold >= doubt
    counts = np.bincount(first, weights, len(GRID) + 1)[: len(GRID)]
    tallies: np.ndarray = np.cumsum(counts)[::-1].astype(float)
    return tallies
