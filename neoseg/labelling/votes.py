"""What a fully labelled scan says of the voxels of another one, once it is laid upon it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor


@dataclass(frozen=True)
class Asked:
    """What an atlas says of n voxels.

    Attributes:
        votes: rows of the codebook around where each lies in the atlas, uint8 `[8, n]`.
        weights: of the votes, trilinear, `[8, n]`.
        clear: bool `[R]`, whether the atlas knows where a row's leaves end.
    """

    votes: np.ndarray
    weights: np.ndarray
    clear: np.ndarray


def allowed_votes(
    votes: np.ndarray, weights: np.ndarray, rows: np.ndarray, code: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return what votes for label sets say inside another: uint8 leaves `[v * m, n]` and weights.

    A vote counts for those of its leaves that are allowed, in equal parts; m is the most that one
    has. One that allows all of them says nothing.

    Args:
        votes: rows of the codebook, `[v, n]`.
        weights: `[v, n]`.
        rows: bool `[R, K]`, the leaves of each row.
        code: the row inside which the votes count.
    """
    inside = rows & rows[code]
    size = inside.sum(1)
    size[size == rows[code].sum()] = 0
    leaves = np.argsort(~inside, axis=1, kind="stable").astype(np.uint8)
    parts = [
        (leaves[votes, place], weights * (size > place)[votes] / np.maximum(size, 1)[votes])
        for place in range(max(1, int(size.max())))
    ]
    return np.concatenate([vote for vote, _ in parts]), np.concatenate([w for _, w in parts])


def corners(grid: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Return labels and trilinear weights of the eight voxels around each position.

    Args:
        grid: `[n, 3]`, positions as `grid_sample` has them, corners not aligned.
        labels: uint8 `[X, Y, Z]`.

    Returns:
        uint8 `[8, n]` and float32 `[8, n]`, whose sum is 1 everywhere.
    """
    shape = torch.tensor(labels.shape)
    at = ((grid.flip(1) + 1) * shape - 1) / 2
    at = torch.minimum(at.clamp(min=0), shape - 1)
    low = at.floor().long()
    rest = at - low
    votes, weights = [], []
    for number in range(8):
        up = torch.tensor([number >> 2 & 1, number >> 1 & 1, number & 1])
        x, y, z = torch.minimum(low + up, shape - 1).unbind(1)
        votes.append(labels[x, y, z])
        weights.append(torch.where(up.bool(), rest, 1 - rest).prod(1))
    return torch.stack(votes), torch.stack(weights)
