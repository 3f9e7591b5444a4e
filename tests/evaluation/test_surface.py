"""Surface distances against brute force and against MONAI."""

from __future__ import annotations

import numpy as np
import pytest
from monai.metrics import (
    compute_average_surface_distance,
    compute_hausdorff_distance,
    compute_surface_dice,
)
from scipy.spatial.distance import cdist

from neoseg.evaluation import surface
from neoseg.evaluation.surface import border, surface_dice, surface_distances


def blobs(seed: int, threshold: float = 0.3) -> tuple[np.ndarray, np.ndarray]:
    """Two irregular masks that overlap in part, reach the array's faces, and have islands."""
    from scipy.ndimage import gaussian_filter

    rng = np.random.default_rng(seed)
    noise = gaussian_filter(rng.normal(size=(2, 17, 13, 19)), (0, 2, 2, 2))
    first, second = noise / noise.std() > threshold
    second[0, 0, 0] = True
    return first, second


def brute_border(mask: np.ndarray) -> np.ndarray:
    points = []
    for place in np.argwhere(mask):
        for axis in range(3):
            for step in (-1, 1):
                other = place.copy()
                other[axis] += step
                outside = other[axis] < 0 or other[axis] >= mask.shape[axis]
                if outside or not mask[tuple(other)]:
                    points.append(tuple(place))
    return np.array(sorted(set(points)))


def test_border_is_the_voxels_with_a_face_outside() -> None:
    mask = blobs(0)[0]
    assert np.array_equal(np.argwhere(border(mask)), brute_border(mask))


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize(
    ("near", "search"), [(8, 0.3e-6), (0.5, 0.0), (0.5, 1.0)], ids=["near", "tree", "transform"]
)
@pytest.mark.parametrize("spacing", [(1, 1, 1), (0.5, 0.5, 0.5), (0.7, 1.3, 2.1)])
def test_distances_equal_brute_force(monkeypatch, seed, near, search, spacing) -> None:
    """Whichever way they are found: all near, or most too far and left to tree or transform."""
    monkeypatch.setattr(surface, "_NEAR", near)
    monkeypatch.setattr(surface, "_SEARCH", search)
    first, second = blobs(seed)
    table = cdist(brute_border(first) * np.array(spacing), brute_border(second) * np.array(spacing))
    forward, backward = table.min(axis=1), table.min(axis=0)
    found = surface_distances(first, second, spacing)
    assert np.allclose(found.forward, forward, rtol=0, atol=1e-6)
    assert np.allclose(found.backward, backward, rtol=0, atol=1e-6)
    assert found.hausdorff == pytest.approx(max(forward.max(), backward.max()), abs=1e-6)
    expected = max(np.percentile(forward, 95), np.percentile(backward, 95))
    assert found.percentile(95) == pytest.approx(expected, abs=1e-6)
    both = np.concatenate([forward, backward])
    assert found.average == pytest.approx(both.mean(), abs=1e-6)


def box(shape: tuple[int, ...], start: tuple[int, ...], size: tuple[int, ...]) -> np.ndarray:
    mask = np.zeros(shape, bool)
    mask[tuple(slice(s, s + n) for s, n in zip(start, size, strict=True))] = True
    return mask


def box_surface(start, size, spacing) -> tuple[np.ndarray, np.ndarray]:
    """Places and areas of the elements of a box whose edges and corners are cut off half a voxel
    deep: rectangles on the faces, strips along the edges, triangles at the corners."""
    places, areas = [], []
    half = np.array(spacing) / 2
    for cell in np.ndindex(*(n + 1 for n in size)):
        extreme = [axis for axis in range(3) if cell[axis] in (0, size[axis])]
        a, b, c = (half[axis] for axis in (*extreme, *(set(range(3)) - set(extreme))))
        if extreme:
            places.append((np.array(start) + cell) * spacing)
            whole = {1: 4 * b * c, 2: 2 * c * np.hypot(a, b)}
            triangle = 0.5 * np.sqrt((a * b) ** 2 + (b * c) ** 2 + (a * c) ** 2)
            areas.append(whole.get(len(extreme), triangle))
    return np.array(places), np.array(areas)


@pytest.mark.parametrize("spacing", [(1.0, 1.0, 1.0), (0.5, 0.8, 2.0)])
@pytest.mark.parametrize("other", [(4, 1, 2), (0, 2, 3)])
def test_surface_dice_weighs_what_lies_near_by_its_area(spacing, other) -> None:
    shape, size, start = (12, 11, 10), (5, 4, 6), (1, 1, 2)
    masks = box(shape, start, size), box(shape, other, size)
    surfaces = [box_surface(place, size, spacing) for place in (start, other)]
    table = cdist(surfaces[0][0], surfaces[1][0])
    areas = np.concatenate([area for _, area in surfaces])
    reached = np.concatenate([table.min(axis=1), table.min(axis=0)])
    for tolerance in (0.01, 0.55, 1.05, 2.05, 9.0, 50.0):
        expected = areas[reached <= tolerance].sum() / areas.sum()
        assert surface_dice(*masks, spacing, tolerance) == pytest.approx(expected, abs=1e-6)


def test_areas_are_those_of_known_bodies() -> None:
    areas = surface._element_areas((0.5, 0.8, 2.0))
    codes = surface._neighbour_codes(box((9, 9, 9), (1, 0, 2), (5, 9, 6)))
    assert areas[codes].sum() == pytest.approx(
        box_surface((1, 0, 2), (5, 9, 6), (0.5, 0.8, 2))[1].sum()
    )
    grid = np.stack(np.meshgrid(*[np.arange(-32, 33)] * 3, indexing="ij"))
    ball = (grid**2).sum(axis=0) <= 30.5**2
    found = surface._element_areas((1.0, 1.0, 1.0))[surface._neighbour_codes(ball)].sum()
    # Marching cubes on a binary ball are rougher than the ball by a known share.
    assert 1.0 < found / (4 * np.pi * 30.5**2) < 1.1


def test_shifted_planes_are_near_from_their_distance_on() -> None:
    """Halves of a volume, cut 2 voxels of 0.7 mm apart: all but the ends lies 1.4 mm apart."""
    first = np.zeros((20, 1, 1), bool)
    first[:10] = True
    first, second = (np.tile(m, (1, 40, 40)) for m in (first, np.roll(first, 2)))
    second[:2] = True
    strict, loose = (surface_dice(first, second, (0.7, 1, 1), t) for t in (1.3, 1.4))
    assert loose == 1
    # Only the two planes in the middle are off; both bodies have two planes and a rim.
    plane, rim = 40 * 40, 160 * 0.7
    assert 1 - strict == pytest.approx(2 * plane / (4 * plane + 22 * rim), rel=0.1)


def test_scattered_predictions_take_the_transform_and_anatomy_does_not(monkeypatch) -> None:
    """What bounds the time of garbage must not be what good predictions pay."""
    calls = []
    original = surface.distance_transform_edt

    def counted(*args, **kwargs):
        calls.append(args[0].size)
        return original(*args, **kwargs)

    monkeypatch.setattr(surface, "distance_transform_edt", counted)
    grid = np.stack(np.meshgrid(*[np.linspace(-1, 1, 60)] * 3, indexing="ij"))
    ball = (grid**2).sum(axis=0) < 0.5
    surface_distances(ball, np.roll(ball, 2, axis=0), (1, 1, 1))
    assert not calls
    garbage = np.random.default_rng(0).random(ball.shape) < 0.3
    surface_distances(garbage, ball & (grid[0] < -0.3), (1, 1, 1))
    assert len(calls) == 1


def test_definitions_are_those_of_monai() -> None:
    import torch

    first, second = blobs(3)
    found = surface_distances(first, second, (0.5, 0.5, 0.8))
    batch = [torch.from_numpy(mask)[None, None] for mask in (first, second)]
    options = {"include_background": True, "spacing": (0.5, 0.5, 0.8)}
    for percentile, value in ((95, found.percentile(95)), (None, found.hausdorff)):
        theirs = compute_hausdorff_distance(*batch, percentile=percentile, **options)
        assert value == pytest.approx(theirs.item(), abs=1e-5)
    theirs = compute_average_surface_distance(*batch, symmetric=True, **options)
    assert found.average == pytest.approx(theirs.item(), abs=1e-5)
    for tolerance in (0.6, 1.1):
        theirs = compute_surface_dice(
            *batch, class_thresholds=[tolerance], use_subvoxels=True, **options
        )
        dice = surface_dice(first, second, (0.5, 0.5, 0.8), tolerance)
        assert dice == pytest.approx(theirs.item(), abs=1e-6)


def test_rounding_of_the_spacing_does_not_decide_about_the_tolerance() -> None:
    first = np.zeros((8, 8, 8), bool)
    first[2:5, 2:5, 2:5] = True
    second = np.roll(first, 2, axis=0)
    exact = surface_dice(first, second, (0.5, 0.5, 0.5), 1.0)
    assert exact == 1
    for spacing in (0.5 - 1e-7, 0.5 + 1e-7):
        assert surface_dice(first, second, (spacing,) * 3, 1.0) == exact


def test_percentile_takes_the_worse_direction() -> None:
    line = np.zeros((1, 1, 30), bool)
    line[..., :2] = True
    longer = np.zeros_like(line)
    longer[..., :30] = True
    found = surface_distances(line, longer, (1, 1, 1))
    assert found.forward.max() == 0
    assert found.percentile(95) == pytest.approx(np.percentile(found.backward, 95))
    assert found.percentile(95) > np.percentile(np.r_[found.forward, found.backward], 95)


def test_equal_masks_are_at_distance_zero() -> None:
    mask = blobs(1)[0]
    found = surface_distances(mask, mask, (1, 2, 3))
    assert (found.hausdorff, found.percentile(95), found.average) == (0, 0, 0)
    assert surface_dice(mask, mask, (1, 2, 3), 0.1) == 1


def test_empty_mask_is_an_error() -> None:
    mask = np.zeros((3, 3, 3), bool)
    with pytest.raises(ValueError, match="non-empty"):
        surface_distances(mask, ~mask, (1, 1, 1))
    with pytest.raises(ValueError, match="non-empty"):
        surface_dice(mask, ~mask, (1, 1, 1), 1.0)
