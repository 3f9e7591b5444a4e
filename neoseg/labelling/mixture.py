"""Sharpen atlas votes by image intensities, with a mixture of Gaussians inside label sets.

Positions from atlases are accurate within a voxel or two, which is not enough for thin structures.
The intensities of a leaf can be estimated from the scan itself, as most voxels that are expected to
show it do: by expectation-maximisation with the blurred votes as prior (Van Leemput et al. 1999;
Draw-EM of Makropoulos et al. 2014). Leaves with similar intensities are decided by the votes. So is
how large each leaf is, since an atlas of another age has other proportions: the prior of a leaf is
multiplied by a factor that is estimated as well (Ashburner & Friston 2005).
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from scipy.ndimage import gaussian_filter

ITERATIONS = 30
"""Iterations of expectation-maximisation, after which little changes."""

BLUR = 1.0
"""Standard deviation in voxels of the position of votes."""

LEAVES = 256
"""Number of leaves that a uint8 can name."""

REACH = 3
"""Radius in voxels to which the blur is truncated."""

SHRINKAGE = 100.0
"""Number of pseudo-observations with mean and covariance of the whole label set added to each leaf,
so that small leaves, for which there is little data, follow the votes."""

STIFFNESS = 0.05
"""Pseudo-observations that the votes have the right proportions, of each leaf, as a fraction of the
label set's voxels: leaves much smaller than that keep their proportion."""


@dataclass(frozen=True)
class Candidates:
    """Candidate leaves of the voxels of one label set, an entry per pair, sorted by leaf.

    Attributes:
        voxel: int `[e]`, index of the voxel, 0 to n - 1.
        leaf: uint8 `[e]`, ascending.
        share: float64 `[e]`, probability; sums to 1 over the entries of a voxel.
        n: number of voxels, including those without an entry.
    """

    voxel: np.ndarray
    leaf: np.ndarray
    share: np.ndarray
    n: int

    def most(self) -> tuple[np.ndarray, np.ndarray]:
        """Return the leaf with the largest share, uint8 `[n]`, and that share; 0 without entry."""
        order = np.argsort(self.share, kind="stable")
        leaf, share = np.zeros(self.n, np.uint8), np.zeros(self.n)
        leaf[self.voxel[order]] = self.leaf[order]
        share[self.voxel[order]] = self.share[order]
        return leaf, share

    def leaves(self) -> Iterator[slice]:
        """Yield the slice of entries of each leaf."""
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
    """Count the votes of each voxel and, weighted by the blur, of its neighbours.

    Args:
        votes: leaves uint8 `[v, n]`; those with a weight above 0 must be allowed.
        weights: `[v, n]`.
        at: flat positions `[n]` of the voxels, all of one label set; others do not contribute.
        shape: of the scan.
        blur: standard deviation in voxels; 0 counts only the votes of the voxel itself.
    """
    index = np.unravel_index(at, shape)
    parts = []
    for leaf in np.unique(votes[weights > 0]):
        count = np.zeros(len(at))
        for vote, weight in zip(votes, weights, strict=True):  # gigabytes if vectorised
            count += weight * (vote == leaf)
        if blur:
            count = _blur(count, index, blur)
        voted = np.flatnonzero(count > 0)
        parts.append((voted, np.full(len(voted), leaf, np.uint8), count[voted]))
    if not parts:
        return Candidates(np.zeros(0, int), np.zeros(0, np.uint8), np.zeros(0), len(at))
    voxel, leaf, share = (np.concatenate(part) for part in zip(*parts, strict=True))
    return _normalise(voxel, leaf, share, len(at))


def refined(prior: Candidates, values: np.ndarray, iterations: int = ITERATIONS) -> Candidates:
    """Return the candidates with posterior probabilities given the image.

    Args:
        prior: probabilities by the atlases.
        values: float `[n, M]`, intensities of the images at the voxels.
        iterations: of expectation-maximisation.
    """
    values = values.astype(np.float64)
    mean = values.mean(0)
    weight = np.full(len(values), 1 / max(1, len(values)))
    spread = _scatter(weight, values - mean) + 1e-6 * np.eye(values.shape[1])
    posterior, factor = prior, np.ones(LEAVES)
    for _ in range(iterations if len(values) else 0):
        density = np.empty(len(prior.voxel))
        for part in posterior.leaves():
            density[part] = _log_density(
                values[posterior.voxel[part]], posterior.share[part], mean, spread
            )
        highest = np.full(prior.n, -np.inf)
        np.maximum.at(highest, prior.voxel, density)
        factor = _factors(prior, posterior, factor)
        share = prior.share * factor[prior.leaf] * np.exp(density - highest[prior.voxel])
        posterior = _normalise(prior.voxel, prior.leaf, share, prior.n)
    return posterior


def _log_density(
    values: np.ndarray, share: np.ndarray, mean: np.ndarray, spread: np.ndarray
) -> np.ndarray:
    """Fit a Gaussian to a leaf's voxels and return their log-density `[e]`, up to a constant."""
    total = share.sum() + SHRINKAGE
    centre = (np.einsum("e,em->m", share, values) + SHRINKAGE * mean) / total
    centred = values - centre
    scatter = _scatter(share, centred) + SHRINKAGE * spread
    lower = np.linalg.cholesky(scatter / total)
    whitened = np.einsum("mk,ek->me", np.linalg.inv(lower), centred)
    density: np.ndarray = -0.5 * np.square(whitened).sum(0) - np.log(lower.diagonal()).sum()
    return density


def _scatter(share: np.ndarray, centred: np.ndarray) -> np.ndarray:
    """Return the weighted sum of outer products `[M, M]`.

    einsum, not @: matrix products may round differently with the number of threads.
    """
    scatter: np.ndarray = np.einsum("em,ek->mk", share[:, None] * centred, centred)
    return scatter


def _factors(prior: Candidates, posterior: Candidates, factor: np.ndarray) -> np.ndarray:
    """Return by how much each leaf is more frequent than its votes, `[LEAVES]`."""
    total = np.bincount(prior.voxel, prior.share * factor[prior.leaf], prior.n)
    expected = np.bincount(prior.leaf, prior.share / np.maximum(total, 1e-300)[prior.voxel], LEAVES)
    found = np.bincount(posterior.leaf, posterior.share, LEAVES)
    stiff = STIFFNESS * prior.n
    factors: np.ndarray = (found + stiff) / (expected + stiff)
    return factors


def _blur(count: np.ndarray, index: tuple[np.ndarray, ...], blur: float) -> np.ndarray:
    """Return blurred counts `[n]`, computed in the bounding box of the votes only."""
    voted = count > 0
    low = [axis[voted].min() - REACH for axis in index]
    high = [axis[voted].max() + REACH + 1 for axis in index]
    near = np.logical_and.reduce(
        [(a >= lo) & (a < hi) for a, lo, hi in zip(index, low, high, strict=True)]
    )
    inside = tuple(axis[near] - lo for axis, lo in zip(index, low, strict=True))
    field = np.zeros([hi - lo for lo, hi in zip(low, high, strict=True)])
    field[inside] = count[near]
    result = np.zeros_like(count)
    result[near] = gaussian_filter(field, blur, mode="constant", radius=REACH)[inside]
    return result


def _normalise(voxel: np.ndarray, leaf: np.ndarray, share: np.ndarray, n: int) -> Candidates:
    total = np.bincount(voxel, share, n)
    return Candidates(voxel, leaf, share / np.maximum(total, 1e-300)[voxel], n)
