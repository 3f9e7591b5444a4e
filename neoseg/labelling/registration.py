"""Deformable registration of one scan onto another, by images and labels."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool3d, affine_grid, avg_pool3d, grid_sample, pad

MAX_VOXELS = 2_000_000
"""Number of voxels above which a level is skipped, as the smooth field does not need it."""

MIN_LENGTH = 12
"""Least number of voxels along an axis of a coarsened grid."""

AFFINE_RATE, FREE_RATE = 0.02, 0.2
"""Learning rates of Adam: for the affine matrix in half extents, for control points in voxels."""

MAX_SCALE = 1.5
"""Largest factor by which an initial transform scales a body along an axis."""


@dataclass(frozen=True)
class Effort:
    """Settings of a registration.

    Attributes:
        factors: by which both grids are coarsened, level by level.
        steps: of Adam at each level, after `affine_steps` at the first.
        spacing: voxels between control points of the cubic B-splines.
        stiffness: weight of the squared differences between neighbouring control points (voxels).
    """

    factors: tuple[int, ...] = (4, 2, 1)
    steps: tuple[int, ...] = (40, 25, 10)
    affine_steps: int = 60
    spacing: float = 3.0
    stiffness: float = 0.01


def register(
    fixed: Tensor, moving: Tensor, effort: Effort = Effort(), start: Tensor | None = None
) -> Tensor:
    """Return the position in `moving` of each voxel of `fixed`, as a grid for `grid_sample`.

    An affine transform is followed by a free-form deformation of cubic B-splines (Rueckert et al.
    1999); both minimise the mean squared difference over all channels with Adam. Channels may be
    intensities, memberships of structures, or anything else that corresponds.

    Args:
        fixed: float32 `[C, X, Y, Z]`.
        moving: float32 `[C, X', Y', Z']`, voxels of the same size.
        effort: settings of the optimisation.
        start: initial affine transform `[1, 3, 4]`, such as from `centred`; used only if it fits
            better than aligning the fields of view.

    Returns:
        float32 `[X, Y, Z, 3]`, positions from -1 to 1 in the order of `grid_sample` (Z', Y', X'),
        corners not aligned.
    """
    levels = [
        (_coarsen(fixed[None], factor), _coarsen(moving[None], factor), steps)
        for factor, steps in zip(effort.factors, effort.steps, strict=True)
        if _is_usable(fixed.shape[1:], factor) and _is_usable(moving.shape[1:], factor)
    ] or [(fixed[None], moving[None], effort.steps[-1])]
    theta = _fit_affine(*levels[0][:2], effort.affine_steps, start)
    shape = torch.tensor(fixed.shape[1:], dtype=torch.float32)
    controls = [max(4, round(float(length) / effort.spacing) + 3) for length in shape]
    points = torch.zeros((3, *controls), device=fixed.device, requires_grad=True)
    # Control points are displaced in voxels; `grid_sample` uses half extents of `moving`.
    unit = (2 / torch.tensor(moving.shape[1:], dtype=torch.float32)).flip(0).to(fixed.device)
    optimizer = torch.optim.Adam([points], lr=FREE_RATE)

    def positions(size: Sequence[int]) -> Tensor:
        bases = [_splines(n, count).to(points) for n, count in zip(size, controls, strict=True)]
        moved = torch.einsum("cijk,xi,yj,zk->xyzc", points, *bases)
        base = affine_grid(theta, [1, 1, *size], align_corners=False)[0]
        return base + moved * unit

    with torch.enable_grad():
        for target, source, steps in levels:
            for _ in range(steps):
                warped = _sample(source, positions(target.shape[2:]))
                bending = sum(points.diff(dim=axis).square().mean() for axis in (1, 2, 3))
                loss = (warped - target).square().mean() + effort.stiffness * bending
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
    with torch.no_grad():
        return positions(fixed.shape[1:])


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


def _fit_affine(fixed: Tensor, moving: Tensor, steps: int, start: Tensor | None) -> Tensor:
    """Fit `[1, 3, 4]`, starting from aligned fields of view, or from `start` if it fits better."""

    def difference(theta: Tensor) -> Tensor:
        grid = affine_grid(theta, [1, 1, *fixed.shape[2:]], align_corners=False)[0]
        return (_sample(moving, grid) - fixed).square().mean()

    theta = torch.eye(3, 4, device=fixed.device)[None]
    if start is not None and difference(start) < difference(theta):
        theta = start.clone()
    theta.requires_grad_()
    optimizer = torch.optim.Adam([theta], lr=AFFINE_RATE)
    with torch.enable_grad():
        for _ in range(steps):
            loss = difference(theta)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    return theta.detach()


def _sample(volume: Tensor, grid: Tensor) -> Tensor:
    return grid_sample(volume, grid[None], padding_mode="border", align_corners=False)


def _is_usable(shape: Sequence[int], factor: int) -> bool:
    voxels = shape[0] * shape[1] * shape[2] / factor**3
    return voxels <= MAX_VOXELS and (factor == 1 or min(shape) >= MIN_LENGTH * factor)


def _coarsen(volume: Tensor, factor: int) -> Tensor:
    """Average about `factor` voxels along each axis, after a box filter of three voxels."""
    blurred = avg_pool3d(pad(volume, (1,) * 6, mode="replicate"), 3, stride=1)
    if factor == 1:
        return blurred
    x, y, z = (round(length / factor) for length in volume.shape[2:])
    return adaptive_avg_pool3d(blurred, (x, y, z))


def _splines(length: int, controls: int) -> Tensor:
    """Return cubic B-spline bases at voxel centres, `[length, controls]`."""
    position = (torch.arange(length) + 0.5) / length * (controls - 3) + 1
    distance = (position[:, None] - torch.arange(controls)).abs()
    inner = 2 / 3 - distance**2 + distance**3 / 2
    outer = (2 - distance).clamp(min=0) ** 3 / 6
    return torch.where(distance < 1, inner, outer)
