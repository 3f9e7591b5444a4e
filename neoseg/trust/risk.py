"""Conformal risk control: how much doubt may be left for a stated share of right voxels.

Angelopoulos, Bates, Fisch, Lei, Schuster, "Conformal risk control", ICLR 2024. With n scans that
are exchangeable with the next one and a loss in 0 to 1 that falls as sets grow, the least sets with

    n / (n + 1) * mean loss + 1 / (n + 1) <= alpha

bounds the expected loss of the next scan by alpha, whatever the network is worth.
"""

from __future__ import annotations

import math

import numpy as np

STEPS_PER_DECADE = 32
LEAST = 1e-7
"""Doubt below which float32 probabilities tell nothing."""


def thresholds() -> np.ndarray:
    """Return the doubts that may be left to choose from, falling: 1 to 0, and -1: always all.

    The grid is the same for all scans, which keeps the choice exact: only its members are compared.
    """
    count = round(-math.log10(LEAST)) * STEPS_PER_DECADE
    return np.array([*(10.0 ** -(np.arange(count + 1) / STEPS_PER_DECADE)), 0.0, -1.0])


GRID = thresholds()


def scans_needed(alpha: float) -> int:
    """Return with how many scans at least a share of alpha wrong voxels can be promised."""
    return max(1, math.ceil(round(1 / alpha - 1, 9)))


def choose(losses: np.ndarray, n: int, alpha: float) -> int | None:
    """Return the place in `GRID` of the largest doubt that keeps the promise.

    Args:
        losses: `[T]`, the sum over n scans, each falling along the grid.
        n: how many there are.
        alpha: the expected loss that is allowed.

    Returns:
        None where n scans are too few for any promise.
    """
    if n < scans_needed(alpha):
        return None
    bound = (losses + 1) / (n + 1)
    fits = np.flatnonzero(bound <= alpha + 1e-12)
    return int(fits[0]) if len(fits) else None


def tally(doubts: np.ndarray, weights: np.ndarray | None = None) -> np.ndarray:
    """Return for each threshold the weight of the doubts that are at most that, float `[T]`.

    A doubt at most as large as what may be left is one for which the set was not widened.
    """
    rising = GRID[::-1]
    first = np.searchsorted(rising, doubts, side="left")  # the least threshold not below it
    counts = np.bincount(first, weights, len(GRID) + 1)[: len(GRID)]
    found: np.ndarray = np.cumsum(counts)[::-1].astype(float)
    return found
