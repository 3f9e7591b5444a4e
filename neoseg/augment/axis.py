"""Separable linear changes of a patch, as one small matrix per axis.

These are blurring, coarser voxels, thick slices and ghosts. The matrices of a patch are multiplied
first, so that all changes together cost one product per axis.
"""

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from neoseg.accelerator import sent

Matrices = tuple[np.ndarray | None, np.ndarray | None, np.ndarray | None]
"""Float64 `[n, n]` for each axis of a patch; None leaves an axis unchanged."""

NONE: Matrices = (None, None, None)


@lru_cache(maxsize=32)
def _reflected(n: int, reach: int) -> np.ndarray:
    """Return indices `[n, 2 * reach + 1]` around each voxel, reflected at the patch's edges."""
    index = np.arange(n)[:, None] + np.arange(-reach, reach + 1)
    index = index % (2 * n)
    return np.where(index < n, index, 2 * n - 1 - index)


def gaussian(n: int, width: float) -> np.ndarray:
    """Return the matrix of a Gaussian blur; `width` is its standard deviation in voxels.

    The kernel is cut off at four widths and reflected at the edges.
    """
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
        thickness: of a slice, and its distance from the next, in voxels, at least 1.
        phase: 0 to 1; 1 moves the slices by their thickness minus one voxel.
    """
    count = int(np.ceil(n / thickness)) + 1
    centres = (np.arange(count) + 0.5) * thickness - 0.5 - phase * (thickness - 1)
    voxels = np.arange(n)
    distance = np.abs(voxels - centres[:, None])
    average = np.clip((thickness + 1) / 2 - distance, 0, 1)
    total = average.sum(axis=1)
    nonempty = total > 1e-9
    average, centres = average[nonempty] / total[nonempty, None], centres[nonempty]
    # The values of the outermost slices are repeated beyond them.
    position = np.clip(np.interp(voxels, centres, np.arange(len(centres))), 0, len(centres) - 1)
    below = np.minimum(position.astype(int), max(len(centres) - 2, 0))
    above = np.minimum(below + 1, len(centres) - 1)
    share = (position - below)[:, None]
    matrix: np.ndarray = (1 - share) * average[below] + share * average[above]
    return matrix


def combine(first: Matrices, then: Matrices) -> Matrices:
    """Return the matrices that apply `first`, then `then`."""
    result = [
        b if a is None else a if b is None else b @ a for a, b in zip(first, then, strict=True)
    ]
    return result[0], result[1], result[2]


def along(axis: int, matrix: np.ndarray) -> Matrices:
    """Return matrices that change a single axis."""
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
