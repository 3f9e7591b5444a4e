from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import ndimage

from neoseg.augment.axis import along, apply, combine, gaussian, slices

LINE = np.random.default_rng(0).normal(size=40)


@pytest.mark.parametrize("width", [0.0, 0.1, 0.5, 1.0, 2.5])
@pytest.mark.parametrize("n", [1, 3, 40])
def test_gaussian_is_that_of_scipy(width: float, n: int) -> None:
    found = gaussian(n, width) @ LINE[:n]
    np.testing.assert_allclose(found, ndimage.gaussian_filter(LINE[:n], width), atol=1e-12)


@pytest.mark.parametrize("n", [1, 2, 5, 40])
@pytest.mark.parametrize("thickness", [1.0, 1.7, 3.0, 4.0, 60.0])
@pytest.mark.parametrize("phase", [0.0, 0.4, 1.0])
def test_slices_are_averages(n: int, thickness: float, phase: float) -> None:
    matrix = slices(n, thickness, phase)
    assert (matrix >= 0).all()
    np.testing.assert_allclose(matrix.sum(axis=1), 1.0)
    if thickness == 1.0:
        np.testing.assert_allclose(matrix, np.eye(n), atol=1e-12)


def test_slices_keep_a_ramp_and_hide_what_is_finer() -> None:
    matrix = slices(40, 4.0, 0.0)
    ramp = np.arange(40.0)
    np.testing.assert_allclose((matrix @ ramp)[2:-2], ramp[2:-2], atol=1e-9)
    np.testing.assert_allclose(matrix @ (ramp % 2), 0.5, atol=1e-9)
    assert np.linalg.matrix_rank(matrix) == 10


def test_slices_move_with_the_phase() -> None:
    assert not np.allclose(slices(40, 4.0, 0.0), slices(40, 4.0, 0.5))


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_a_matrix_works_along_its_axis(axis: int) -> None:
    x = np.random.default_rng(1).normal(size=(5, 6, 7)).astype(np.float32)
    matrix = np.random.default_rng(2).normal(size=(x.shape[axis],) * 2)
    found = apply(torch.from_numpy(x), along(axis, matrix)).numpy()
    expected = np.moveaxis(np.tensordot(matrix, x, (1, axis)), 0, axis)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


def test_combined_matrices_do_both() -> None:
    a, b = (np.random.default_rng(s).normal(size=(4, 4)) for s in (0, 1))
    both = combine(combine(along(1, a), along(1, b)), along(0, a))
    np.testing.assert_allclose(both[1], b @ a)
    np.testing.assert_allclose(both[0], a)
    assert both[2] is None
