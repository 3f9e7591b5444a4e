from __future__ import annotations

import pytest
import torch
from torch.nn.functional import grid_sample

from neoseg.labelling.pose import centred
from neoseg.labelling.registration import Effort, register

QUICK = Effort(factors=(2, 1), steps=(30, 10), affine_steps=40)


def positions(shape: tuple[int, ...]) -> torch.Tensor:
    axes = [torch.linspace(-1, 1, length) for length in shape]
    return torch.stack(torch.meshgrid(*axes, indexing="ij"))


Triple = tuple[float, float, float]


def ball(shape: tuple[int, ...], centre: Triple, radii: Triple) -> torch.Tensor:
    middle, radius = (torch.tensor(values).view(3, 1, 1, 1) for values in (centre, radii))
    return (((positions(shape) - middle) / radius).square().sum(0) < 1).float()


def dice(one: torch.Tensor, other: torch.Tensor) -> float:
    one, other = one > 0.5, other > 0.5
    return float(2 * (one & other).sum() / (one.sum() + other.sum()))


def test_a_shape_is_laid_upon_another_on_a_grid_of_its_own() -> None:
    fixed = ball((26, 30, 24), (0.1, 0.0, -0.1), (0.5, 0.6, 0.5))[None]
    moving = ball((30, 26, 28), (-0.15, 0.1, 0.1), (0.6, 0.45, 0.4))[None]
    grid = register(3 * fixed, 3 * moving, QUICK)
    assert grid.shape == (26, 30, 24, 3)
    moved = grid_sample(moving[None], grid[None], align_corners=False)[0]
    assert dice(moved, fixed) > 0.95


def test_what_lies_inside_follows_the_border() -> None:
    """Halves of a bar that is longer and elsewhere: the plane between them goes along."""
    fixed, moving = torch.zeros(1, 24, 32, 24), torch.zeros(1, 24, 32, 24)
    fixed[:, 8:16, 6:22, 8:16] = 1
    moving[:, 6:14, 4:28, 10:18] = 1
    half = torch.zeros_like(moving)
    half[:, :, :16] = moving[:, :, :16]
    grid = register(3 * fixed, 3 * moving, QUICK)
    moved = grid_sample(half[None], grid[None], align_corners=False)[0] * fixed
    expected = fixed.clone()
    expected[:, :, 14:] = 0
    assert dice(moved, expected) > 0.93


def test_equal_scans_stay_where_they_are() -> None:
    fixed = ball((24, 24, 24), (0, 0, 0), (0.6, 0.6, 0.6))[None]
    grid = register(fixed, fixed, QUICK)
    voxel = (torch.arange(24) + 0.5) / 24 * 2 - 1
    expected = torch.stack(torch.meshgrid(voxel, voxel, voxel, indexing="ij"), -1).flip(-1)
    assert float((grid - expected).abs().max()) < 2 / 24


@pytest.mark.parametrize("shape", [(5, 40, 40), (1, 1, 1), (13, 3, 26)])
def test_small_grids_are_registered_as_they_are(shape: tuple[int, int, int]) -> None:
    fixed = torch.rand(2, *shape, generator=torch.Generator().manual_seed(1))
    grid = register(fixed, fixed.roll(1, 1), QUICK)
    assert grid.shape == (*shape, 3)
    assert bool(grid.isfinite().all())


def test_it_finds_the_same_again_without_touching_the_random_state() -> None:
    generator = torch.Generator().manual_seed(3)
    fixed, moving = (torch.rand(1, 16, 16, 16, generator=generator) for _ in range(2))
    state = torch.get_rng_state()
    with torch.no_grad():  # as under a trainer's prediction
        one, other = register(fixed, moving, QUICK), register(fixed, moving, QUICK)
    assert torch.equal(one, other)
    assert torch.equal(state, torch.get_rng_state())
    assert not one.requires_grad


def test_another_field_of_view_needs_the_body_to_start_from() -> None:
    """The same body in a corner of a field of four times the extent."""
    fixed, moving = torch.zeros(1, 20, 20, 20), torch.zeros(1, 72, 80, 60)
    fixed[:, 5:15, 6:14, 5:16] = 1
    moving[:, 58:68, 66:74, 44:55] = 1
    start = centred(fixed[0], moving[0])
    moved = grid_sample(
        moving[None],
        torch.nn.functional.affine_grid(start, [1, 1, 20, 20, 20], align_corners=False),
        align_corners=False,
    )[0]
    torch.testing.assert_close(moved, fixed, atol=1e-3, rtol=0)
    grids = (register(3 * fixed, 3 * moving, QUICK, start=s) for s in (None, start))
    without, found = (grid_sample(moving[None], g[None], align_corners=False)[0] for g in grids)
    assert dice(found, fixed) > 0.95
    assert dice(without, fixed) < 0.1


def test_a_start_makes_nothing_much_larger() -> None:
    """A body that one field cuts through."""
    fixed, moving = torch.zeros(24, 24, 24), torch.zeros(24, 24, 24)
    fixed[:4], moving[:20] = 1, 1
    scale = centred(fixed, moving)[0].diagonal()
    assert scale.tolist() == pytest.approx([1.0, 1.0, 1.5])
