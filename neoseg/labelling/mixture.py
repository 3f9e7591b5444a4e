"""Votes of atlases made sharper by what the image shows: a mixture of Gaussians inside label sets.

Where an atlas expects a leaf is right within a voxel or two, which is not enough for thin ones. How
bright a leaf is can be learnt from the scan itself, as most voxels that are expected to show it do:
expectation-maximisation with the blurred votes as prior (Van Leemput et al. 1999; Draw-EM of
Makropoulos et al. 2014). Leaves that look alike keep what the votes say.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from scipy.ndimage import gaussian_filter

ITERATIONS = 10
"""Of expectation-maximisation, after which little changes."""

BLUR = 1.0
"""Standard deviation in voxels by which votes are uncertain in place."""

REACH = 3
"""Voxels as far as which a blurred vote counts."""

SHRINKAGE = 100.0
"""Voxels with mean and covariance of the whole label set that each of its leaves is given: small
ones, of which there is little to learn from, keep to the votes."""


@dataclass(frozen=True)
class Candidates:
    """Leaves that the open voxels of one label set may show, an entry for each pair, by leaf.

    Attributes:
        voxel: int `[e]`, number of the voxel, 0 to n - 1.
        leaf: uint8 `[e]`, ascending.
        share: float64 `[e]`, that sums to 1 over the entries of a voxel.
        n: voxels, also those without an entry.
    """

    voxel: np.ndarray
    leaf: np.ndarray
    share: np.ndarray
    n: int

    def most(self) -> tuple[np.ndarray, np.ndarray]:
        """Return the leaf with the largest share, uint8 `[n]`, and that share; 0 where none is."""
        order = np.argsort(self.share, kind="stable")
        leaf, share = np.zeros(self.n, np.uint8), np.zeros(self.n)
        leaf[self.voxel[order]] = self.leaf[order]
        share[self.voxel[order]] = self.share[order]
        return leaf, share

    def leaves(self) -> Iterator[slice]:
        """Yield the entries of each leaf."""
        for leaf in np.unique(self.leaf):
            start, end = (np.searchsorted(self.leaf, leaf, side) for side in ("left", "right"))
            yield slice(start, end)


def candidates(
    votes: np.ndarray,
    weights: np.ndarray,
    at: np.ndarray,
    shape: tuple[int, ...],
    blur: float = BLUR,
) -> Candidates:
    """Count the votes of each voxel, and of those around it.

    Args:
        votes: leaves uint8 `[v, n]`, all of them allowed where their weight is not 0.
        weights: `[v, n]`.
        at: flat positions `[n]` of the voxels, all of one label set; nothing is taken from others.
        shape: of the scan.
        blur: standard deviation in voxels of where a vote belongs; 0 counts a voxel's own only.
    """
    index = np.unravel_index(at, shape)
    parts = []
    for leaf in np.unique(votes[weights > 0]):
        count = np.zeros(len(at))
        for vote, weight in zip(votes, weights, strict=True):  # all at once would take gigabytes
            count += weight * (vote == leaf)
        if blur:
            count = _blurred(count, index, blur)
        found = np.flatnonzero(count > 0)
        parts.append((found, np.full(len(found), leaf, np.uint8), count[found]))
    if not parts:
        return Candidates(np.zeros(0, int), np.zeros(0, np.uint8), np.zeros(0), len(at))
    voxel, leaf, share = (np.concatenate(part) for part in zip(*parts, strict=True))
    return _normalised(voxel, leaf, share, len(at))


def refined(prior: Candidates, values: np.ndarray, iterations: int = ITERATIONS) -> Candidates:
    """Return the candidates with their probabilities given the image, by the prior and its look.

    Args:
        prior: where the atlases expect which leaf.
        values: float `[n, M]`, the images' values at the voxels.
        iterations: of expectation-maximisation.
    """
    values = values.astype(np.float64)
    mean = values.mean(0)
    spread = np.atleast_2d(np.cov(values.T, bias=True)) + 1e-6 * np.eye(values.shape[1])
    found = prior
    for _ in range(iterations if len(values) else 0):
        fits = np.empty(len(prior.voxel))
        for part in found.leaves():
            fits[part] = _fit(values[found.voxel[part]], found.share[part], mean, spread)
        highest = np.full(prior.n, -np.inf)
        np.maximum.at(highest, prior.voxel, fits)
        share = prior.share * np.exp(fits - highest[prior.voxel])
        found = _normalised(prior.voxel, prior.leaf, share, prior.n)
    return found


def _fit(values: np.ndarray, share: np.ndarray, mean: np.ndarray, spread: np.ndarray) -> np.ndarray:
    """Return the log-density `[e]` of a leaf's voxels under the Gaussian that fits them."""
    total = share.sum() + SHRINKAGE
    centre = (share @ values + SHRINKAGE * mean) / total
    off = values - centre
    scatter = (share[:, None] * off).T @ off + SHRINKAGE * spread
    lower = np.linalg.cholesky(scatter / total)
    whitened = np.linalg.solve(lower, off.T)
    density: np.ndarray = -0.5 * np.square(whitened).sum(0) - np.log(lower.diagonal()).sum()
    return density


def _blurred(count: np.ndarray, index: tuple[np.ndarray, ...], blur: float) -> np.ndarray:
    """Return counts `[n]` with those around, from the part of the scan where there are any."""
    voted = count > 0
    low = [axis[voted].min() - REACH for axis in index]
    high = [axis[voted].max() + REACH + 1 for axis in index]
    near = np.logical_and.reduce(
        [(a >= lo) & (a < hi) for a, lo, hi in zip(index, low, high, strict=True)]
    )
    place = tuple(axis[near] - lo for axis, lo in zip(index, low, strict=True))
    field = np.zeros([hi - lo for lo, hi in zip(low, high, strict=True)])
    field[place] = count[near]
    result = np.zeros_like(count)
    result[near] = gaussian_filter(field, blur, mode="constant", radius=REACH)[place]
    return result


def _normalised(voxel: np.ndarray, leaf: np.ndarray, share: np.ndarray, n: int) -> Candidates:
    total = np.bincount(voxel, share, n)
    return Candidates(voxel, leaf, share / np.maximum(total, 1e-300)[voxel], n)
