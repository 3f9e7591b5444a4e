"""Changes that act along one axis at a time, as one small matrix per axis.

Blurring, coarser voxels, thick slices and ghosts are of that kind. The matrices of one patch are
multiplied with each other first, so that all of them together cost one product per axis.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from neoseg.accelerator import sent

Matrices = tuple[np.ndarray | None, np.ndarray | None, np.ndarray | None]
"""Float64 `[n, n]` for each axis of a patch; None leaves an axis as it is."""

NONE: Matrices = (None, None, None)


@lru_cache(maxsize=32)
def _reflected(n: int, reach: int) -> np.ndarray:
    """Positions `[n, 2 * reach + 1]` around each voxel, reflected at the edges of the patch."""
    at = np.arange(n)[:, None] + np.arange(-reach, reach + 1)
    at = at % (2 * n)
    return np.where(at < n, at, 2 * n - 1 - at)


def gaussian(n: int, width: float) -> np.ndarray:
    """Return the matrix of a Gaussian blur of `width` voxels, cut off at four widths."""
    reach = int(4 * width + 0.5)
    if reach == 0:
        return np.eye(n)
    weights = np.exp(-0.5 * (np.arange(-reach, reach + 1) / width) ** 2)
    weights /= weights.sum()
    matrix = np.zeros((n, n))
    columns = _reflected(n, reach)
    np.add.at(
        matrix, (np.repeat(np.arange(n), 2 * reach + 1), columns.ravel()), np.tile(weights, n)
    )
    return matrix


def slices(n: int, thickness: float, phase: float) -> np.ndarray:
    """Return the matrix that averages over slices and interpolates linearly between them.

    Args:
        n: voxels along the axis.
        thickness: of a slice and its distance from the next, voxels, from 1 up.
        phase: 0 to 1; 1 moves the slices by their thickness less a voxel.
    """
    count = int(np.ceil(n / thickness)) + 1
    centres = (np.arange(count) + 0.5) * thickness - 0.5 - phase * (thickness - 1)
    voxels = np.arange(n)
    gap = np.abs(voxels - centres[:, None])
    average = np.clip((thickness + 1) / 2 - gap, 0, 1)
    total = average.sum(axis=1)
    kept = total > 1e-9
    average, centres = average[kept] / total[kept, None], centres[kept]
    # Beyond the outermost slices their values are repeated.
    place = np.clip(np.interp(voxels, centres, np.arange(len(centres))), 0, len(centres) - 1)
    below = np.minimum(place.astype(int), max(len(centres) - 2, 0))
    above = np.minimum(below + 1, len(centres) - 1)
    share = (place - below)[:, None]
    matrix: np.ndarray = (1 - share) * average[below] + share * average[above]
    return matrix


def combine(first: Matrices, then: Matrices) -> Matrices:
    """Return the matrices that do both."""
    result = [
        b if a is None else a if b is None else b @ a for a, b in zip(first, then, strict=True)
    ]
    return result[0], result[1], result[2]


def along(axis: int, matrix: np.ndarray) -> Matrices:
    """Return matrices that change one axis alone."""
    result = [matrix if number == axis else None for number in range(3)]
    return result[0], result[1], result[2]


def apply(x: Tensor, matrices: Sequence[np.ndarray | None]) -> Tensor:
    """Return `x` `[X, Y, Z]` multiplied along each axis that has a matrix."""
    for axis, matrix in enumerate(matrices):
        if matrix is None:
            continue
        weights = sent(torch.from_numpy(matrix.astype(np.float32)), x.device)
        if axis == 0:
            x = (weights @ x.flatten(1)).view(x.shape)
        elif axis == 1:
            x = weights @ x
        else:
            x = x @ weights.T
    return x
