"""Starts of a registration for bodies that lie turned against each other."""

from functools import cache

import numpy as np
import torch
from scipy.spatial.transform import Rotation
from torch import Tensor

MAX_SCALE = 1.5
"""Largest factor by which an initial transform scales a body along an axis."""


def starts(
    fixed: Tensor, moving: Tensor, voxel: tuple[float, float, float]
) -> tuple[Tensor | None, Tensor | None]:
    """Return `centred` and `turned` for label sets `[C, X, Y, Z]`; None where there are none."""
    body, other = fixed.sum(0), moving.sum(0)
    if not body.any() or not other.any():
        return None, None
    return centred(body, other), turned(body, other, voxel)


def centred(fixed: Tensor, moving: Tensor) -> Tensor:
    """Return the affine transform `[1, 3, 4]` that aligns centres and extents of two bodies.

    Args:
        fixed: `[X, Y, Z]`, non-negative density of the body; not 0 everywhere.
        moving: `[X', Y', Z']`, voxels of the same size.
    """
    (centre, spread), (moving_centre, moving_spread) = _moments(fixed), _moments(moving)
    # Extents are compared in voxels, so that a body cut off by the field of view is not enlarged.
    lengths = torch.tensor([*moving.shape]) / torch.tensor([*fixed.shape])
    stretch = (moving_spread / spread.clamp(min=1e-6) * lengths.flip(0)).clamp(
        1 / MAX_SCALE, MAX_SCALE
    )
    scale = stretch / lengths.flip(0)
    shift = moving_centre - scale * centre
    return torch.cat([scale.diag(), shift[:, None]], dim=1)[None].to(fixed.device)


def turned(fixed: Tensor, moving: Tensor, voxel: tuple[float, float, float]) -> Tensor:
    """Return transforms `[192, 3, 4]` that align centres and size of two bodies and turn them.

    Args:
        fixed: `[X, Y, Z]`, non-negative density of the body; not 0 everywhere.
        moving: `[X', Y', Z']`, voxels of the same size.
        voxel: that size along each axis, mm.
    """
    (centre, spread), (moving_centre, moving_spread) = _moments(fixed), _moments(moving)
    size = torch.tensor(voxel)
    half, moving_half = ((torch.tensor(body.shape) * size).flip(0) for body in (fixed, moving))
    growth = (moving_spread * moving_half).norm() / (spread * half).norm().clamp(min=1e-6)
    matrix = growth.clamp(1 / MAX_SCALE, MAX_SCALE) * _rotations() * half / moving_half[:, None]
    shift = moving_centre - matrix @ centre
    return torch.cat([matrix, shift[..., None]], dim=2).to(fixed.device)


@cache
def _rotations() -> Tensor:
    """Return rotations `[192, 3, 3]`, of which one is within 32 degrees of any other rotation.

    They are those of the cube, and those halfway between them about its axes and diagonals.
    """
    axes = 45 * np.eye(3)
    diagonals = 60 / 3**0.5 * np.array([[1, 1, 1], [1, 1, -1], [1, -1, 1], [-1, 1, 1]])
    halfway = Rotation.from_rotvec([np.zeros(3), *axes, *diagonals], degrees=True).as_matrix()
    cube = Rotation.create_group("O").as_matrix()
    return torch.from_numpy((cube[:, None] @ halfway).reshape(-1, 3, 3)).float()


def _moments(body: Tensor) -> tuple[Tensor, Tensor]:
    """Return mean and standard deviation of a body's position, -1 to 1, in `grid_sample` order."""
    means, spreads = [], []
    for axis in (2, 1, 0):
        share = body.double().sum([a for a in range(3) if a != axis]).cpu()
        share = share / share.sum()
        position = (torch.arange(len(share), dtype=torch.float64) + 0.5) / len(share) * 2 - 1
        means.append(mean := share @ position)
        spreads.append((share @ (position - mean).square()).sqrt())
    return torch.stack(means).float(), torch.stack(spreads).float()
