"""Labels stay where they are, and as large, at other voxel sizes."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from neoseg.store.resampling import nearest, resample


@pytest.mark.parametrize("factor", [0.5, 2 / 3, 1.25, 1.5, 2, 3, 4])
def test_structures_are_neither_moved_nor_resized(factor: float) -> None:
    """Where two voxels become one, both are equally near; the upper one would move everything."""
    size = 60
    grid = np.indices((size,) * 3)
    ball = (((grid - 29.5) ** 2).sum(0) < 16**2).astype(np.uint8)
    new = round(size / factor)
    found = nearest(ball, (new,) * 3)
    assert found.dtype == ball.dtype
    centre = np.array(ndimage.center_of_mass(found))
    image = np.array(ndimage.center_of_mass(resample(ball.astype(np.float32), (new,) * 3)))
    np.testing.assert_allclose(centre, image, atol=0.02)
    assert found.sum() * (size / new) ** 3 == pytest.approx(ball.sum(), rel=0.03)


@pytest.mark.parametrize(
    "shape", [(20, 24, 18), (10, 12, 9), (13, 31, 40), (60, 72, 54), (1, 7, 36)]
)
def test_each_voxel_gets_one_of_the_nearest(shape: tuple[int, ...]) -> None:
    old = (40, 48, 36)
    taken = nearest(np.arange(np.prod(old)).reshape(old), shape)
    where = np.stack(np.unravel_index(taken, old))
    for axis, (length, size) in enumerate(zip(old, shape, strict=True)):
        position = (np.arange(size) + 0.5) * length / size - 0.5
        position = position.reshape([-1 if a == axis else 1 for a in range(3)])
        distance = np.abs(where[axis] - position)
        assert distance.max() <= 0.5 + 1e-9
        if (np.abs(distance - 0.5) < 1e-9).any() and min(shape) > 1:
            tied = (where[axis] - position)[np.abs(distance - 0.5) < 1e-9]
            assert abs(tied.mean()) < 0.02


def test_the_same_grid_stays_as_it_is() -> None:
    labels = np.zeros((6, 7, 8), np.uint8)
    assert nearest(labels, (6, 7, 8)) is labels
