"""Votes of a registered, fully labelled scan for the voxels of another scan."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor


@dataclass(frozen=True)
class Asked:
    """Votes of an atlas for n voxels.

    Attributes:
        votes: codes of the eight atlas voxels around each position, uint8 `[8, n]`.
        weights: trilinear weights of the votes, `[8, n]`.
        clear: bool `[R]`, whether the atlas delineates the union of a row's leaves.
    """

    votes: np.ndarray
    weights: np.ndarray
    clear: np.ndarray


def allowed_votes(
    votes: np.ndarray, weights: np.ndarray, rows: np.ndarray, code: int
) -> tuple[np.ndarray, np.ndarray]:
    """Convert votes for label sets to votes for the leaves of one row, with weights.

    A vote is split equally among its leaves that the row allows; m is their largest number. A vote
    that contains all allowed leaves carries no information and gets weight 0.

    Args:
        votes: rows of the codebook, `[v, n]`.
        weights: `[v, n]`.
        rows: bool `[R, K]`, the leaves of each row.
        code: the row to which votes are restricted.

    Returns:
        Leaves, uint8 `[v * m, n]`, and their weights.
    """
    inside = rows & rows[code]
    size = inside.sum(1)
    size[size == rows[code].sum()] = 0
    leaves = np.argsort(~inside, axis=1, kind="stable").astype(np.uint8)
    parts = [
        (leaves[votes, rank], weights * (size > rank)[votes] / np.maximum(size, 1)[votes])
        for rank in range(max(1, int(size.max())))
    ]
    return np.concatenate([vote for vote, _ in parts]), np.concatenate([w for _, w in parts])


def corners(grid: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Return labels and trilinear weights of the eight voxels around each position.

    Args:
        grid: `[n, 3]`, positions as in `grid_sample`, corners not aligned.
        labels: uint8 `[X, Y, Z]`.

    Returns:
        Labels uint8 `[8, n]` and weights float32 `[8, n]`, which sum to 1 over the corners.
    """
    shape = torch.tensor(labels.shape)
    position = ((grid.flip(1) + 1) * shape - 1) / 2
    position = torch.minimum(position.clamp(min=0), shape - 1)
    low = position.floor().long()
    fraction = position - low
    votes, weights = [], []
    for number in range(8):
        up = torch.tensor([number >> 2 & 1, number >> 1 & 1, number & 1])
        x, y, z = torch.minimum(low + up, shape - 1).unbind(1)
        votes.append(labels[x, y, z])
        weights.append(torch.where(up.bool(), fraction, 1 - fraction).prod(1))
    return torch.stack(votes), torch.stack(weights)
