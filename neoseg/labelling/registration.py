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

TURN_LENGTH = 12
"""Largest number of voxels along an axis of the grids on which turned starts are compared."""

TURN_RATE, TURN_STEPS, TURNS = 0.03, 25, 4
"""Learning rate and steps of Adam for turned starts, and how many, the best, are fitted."""

CLEARLY, CLEARLY_IMAGE = 0.9, 0.8
"""A turned start must leave less than this fraction of the differences that the upright one leaves,
and of what it leaves of the image inside the body."""

MIN_TURN = 30.0
"""Turns in degrees up to which the affine transform finds from the upright start by itself."""


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
    fixed: Tensor,
    moving: Tensor,
    effort: Effort = Effort(),
    start: Tensor | None = None,
    turns: Tensor | None = None,
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
        turns: further ones `[n, 3, 4]`, such as from `turned`; the best is used if it is another
            pose and fits clearly better. Then the last channel is an image, the others structures.

    Returns:
        float32 `[X, Y, Z, 3]`, positions from -1 to 1 in the order of `grid_sample` (Z', Y', X'),
        corners not aligned.
    """
    levels = [
        (_coarsen(fixed[None], factor), _coarsen(moving[None], factor), steps)
        for factor, steps in zip(effort.factors, effort.steps, strict=True)
        if _is_usable(fixed.shape[1:], factor) and _is_usable(moving.shape[1:], factor)
    ] or [(fixed[None], moving[None], effort.steps[-1])]
    pair = levels[0][:2]
    first = _upright(*pair, start)
    # Where the coarsest grid is the scan's own, sampling differs more than poses do.
    if turns is not None and pair[0].shape[2:] != fixed.shape[1:]:
        first = _best_turned((fixed[None], moving[None]), pair, first, turns, effort.affine_steps)
    theta = _fit_affine(*pair, first, effort.affine_steps)
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
                warped = _sample(source, positions(target.shape[2:])[None])
                bending = sum(points.diff(dim=axis).square().mean() for axis in (1, 2, 3))
                loss = (warped - target).square().mean() + effort.stiffness * bending
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
    with torch.no_grad():
        return positions(fixed.shape[1:])


def _upright(fixed: Tensor, moving: Tensor, start: Tensor | None) -> Tensor:
    """Return aligned fields of view, `[1, 3, 4]`, or `start` if it fits better."""
    theta = torch.eye(3, 4, device=fixed.device)[None]
    if start is not None and (
        _squares(fixed, moving, start).mean() < _squares(fixed, moving, theta).mean()
    ):
        return start
    return theta


def _best_turned(
    whole: tuple[Tensor, Tensor],
    coarse: tuple[Tensor, Tensor],
    upright: Tensor,
    turns: Tensor,
    steps: int,
) -> Tensor:
    """Return `upright`, or the start `[1, 3, 4]` that fits best if it is clearly another pose."""
    fixed, moving = (
        _pooled(volume, max(1.0, max(volume.shape[2:]) / TURN_LENGTH)) for volume in whole
    )
    best = _misfits(fixed, moving, turns).topk(TURNS, largest=False).indices
    starts = torch.cat([upright, turns[best]])
    starts = _fit_affine(fixed, moving, starts, TURN_STEPS, TURN_RATE)
    left = _misfits(fixed, moving, starts)
    other = starts[left.argmin()][None]
    if left.min() >= CLEARLY * left[0] or _angle(starts[:1], other) <= MIN_TURN:
        return upright
    both = _fit_affine(*coarse, torch.cat([upright, other]), steps)
    left, image = _squares(*coarse, both).mean((1, 2, 3, 4)), _unlike(*coarse, both)
    clear = left[1] < CLEARLY * left[0] and image[1] < CLEARLY_IMAGE * image[0]
    return both[1:] if clear else upright


def _angle(one: Tensor, other: Tensor) -> float:
    """Return by how many degrees two transforms `[1, 3, 4]` are turned against each other."""
    between = (other[0, :, :3] @ torch.linalg.pinv(one[0, :, :3])).cpu()
    cosine = (between.trace() / between.det().abs().clamp(min=1e-6) ** (1 / 3) - 1) / 2
    return float(cosine.clamp(-1, 1).arccos().rad2deg())


def _fit_affine(
    fixed: Tensor, moving: Tensor, starts: Tensor, steps: int, rate: float = AFFINE_RATE
) -> Tensor:
    """Fit transforms `[n, 3, 4]`, each by itself."""
    theta = starts.clone().requires_grad_()
    optimizer = torch.optim.Adam([theta], lr=rate)
    with torch.enable_grad():
        for _ in range(steps):
            loss = _squares(fixed, moving, theta).mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    return theta.detach()


def _misfits(fixed: Tensor, moving: Tensor, theta: Tensor) -> Tensor:
    """Return what n transforms leave, `[n]`: the geometric mean of the channels' differences.

    So the image decides where the label sets, which weigh more, fit as well in several poses.
    """
    channels = _squares(fixed, moving, theta).mean((2, 3, 4))
    return channels.clamp(min=1e-9).log().mean(1).exp()


def _unlike(fixed: Tensor, moving: Tensor, theta: Tensor) -> Tensor:
    """Return 1 - correlation of the images inside the fixed body after n transforms, `[n]`."""
    body = fixed[0, :-1].sum(0) > 0
    images = torch.cat([fixed, _transformed(fixed, moving, theta)])[:, -1, body]
    return 1 - torch.corrcoef(images)[0, 1:]


def _squares(fixed: Tensor, moving: Tensor, theta: Tensor) -> Tensor:
    """Return the squared differences that n transforms leave, `[n, C, X, Y, Z]`."""
    return (_transformed(fixed, moving, theta) - fixed).square()


def _transformed(fixed: Tensor, moving: Tensor, theta: Tensor) -> Tensor:
    grid = affine_grid(theta, [len(theta), 1, *fixed.shape[2:]], align_corners=False)
    return _sample(moving, grid)


def _sample(volume: Tensor, grid: Tensor) -> Tensor:
    volumes = volume.expand(len(grid), -1, -1, -1, -1)
    return grid_sample(volumes, grid, padding_mode="border", align_corners=False)


def _is_usable(shape: Sequence[int], factor: int) -> bool:
    voxels = shape[0] * shape[1] * shape[2] / factor**3
    return voxels <= MAX_VOXELS and (factor == 1 or min(shape) >= MIN_LENGTH * factor)


def _coarsen(volume: Tensor, factor: int) -> Tensor:
    """Average about `factor` voxels along each axis, after a box filter of three voxels."""
    blurred = avg_pool3d(pad(volume, (1,) * 6, mode="replicate"), 3, stride=1)
    if factor == 1:
        return blurred
    return _pooled(blurred, factor)


def _pooled(volume: Tensor, factor: float) -> Tensor:
    x, y, z = (max(1, round(length / factor)) for length in volume.shape[2:])
    return adaptive_avg_pool3d(volume, (x, y, z))


def _splines(length: int, controls: int) -> Tensor:
    """Return cubic B-spline bases at voxel centres, `[length, controls]`."""
    position = (torch.arange(length) + 0.5) / length * (controls - 3) + 1
    distance = (position[:, None] - torch.arange(controls)).abs()
    inner = 2 / 3 - distance**2 + distance**3 / 2
    outer = (2 - distance).clamp(min=0) ** 3 / 6
    return torch.where(distance < 1, inner, outer)
