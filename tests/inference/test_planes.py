"""Slices for pictures: where they lie, which way up, square and of one size."""

from __future__ import annotations

import numpy as np
import pytest

from neoseg.inference.planes import PLANES, Plane, cut, middle_planes
from neoseg.labels import Codebook

SHAPE = (6, 8, 10)
EVEN = (1.0, 1.0, 1.0)


def planes_of(
    codes: np.ndarray, codebook: Codebook, spacing: tuple[float, ...] = EVEN
) -> list[Plane]:
    leaves = np.full(SHAPE, codebook.space.background, np.uint8)
    leaves[5, 7, 9] = 3
    image = np.arange(np.prod(SHAPE), dtype=np.float64).reshape(SHAPE)
    return [*middle_planes(image, leaves, codes, codebook, spacing)]


@pytest.fixture
def corner(codebook: Codebook) -> np.ndarray:
    """Background with one labelled voxel: right, anterior, superior."""
    codes = np.full(SHAPE, codebook.space.background + 1, np.uint8)
    codes[5, 7, 9] = 2
    return codes


def test_planes_go_through_what_is_labelled(corner: np.ndarray, codebook: Codebook) -> None:
    found = planes_of(corner, codebook)
    assert [plane.name for plane in found] == [name for name, _ in PLANES]
    for plane in found:
        assert (plane.truth == 2).sum() == 1
        assert (plane.prediction == 4).sum() == 1  # leaf 3 is code 4


def test_up_is_up(corner: np.ndarray, codebook: Codebook) -> None:
    for plane in planes_of(corner, codebook):
        (row,), (column,) = np.nonzero(plane.truth == 2)
        rows, columns = np.nonzero(plane.image)
        assert row == rows.min()
        assert column == columns.max()


def test_all_have_one_size(corner: np.ndarray, codebook: Codebook) -> None:
    background = codebook.space.background + 1
    for plane in planes_of(corner, codebook):
        assert plane.image.shape == plane.truth.shape == plane.prediction.shape == (10, 8)
    axial = planes_of(corner, codebook)[2]
    assert (axial.image[0] == 0).all()  # 6 by 8 in the middle of 8 by 10
    assert (axial.truth[0] == background).all()


def test_pixels_are_square(corner: np.ndarray, codebook: Codebook) -> None:
    coronal = planes_of(corner, codebook, (1.0, 1.0, 3.0))[1]
    assert coronal.image.shape == (30, 8)
    assert (coronal.truth == 2).sum() == 3


def test_where_nothing_is_labelled_the_middle_is_shown(codebook: Codebook) -> None:
    found = planes_of(np.zeros(SHAPE, np.uint8), codebook)
    assert all((plane.truth == 0).any() for plane in found)


def test_grey_values_span_the_range(corner: np.ndarray, codebook: Codebook) -> None:
    greys = np.concatenate([plane.image.ravel() for plane in planes_of(corner, codebook)])
    assert (greys.min(), greys.max()) == (0, 255)


def test_shapes_must_agree(corner: np.ndarray, codebook: Codebook) -> None:
    with pytest.raises(ValueError, match="one shape"):
        middle_planes(np.zeros((2, 2, 2)), corner, corner, codebook, EVEN)


def test_slices_are_as_radiologists_hold_them() -> None:
    """The first row of a picture is the upper end, the first column the left or back end."""
    volume = np.zeros((3, 4, 5), np.uint8)
    volume[2, 3, 4] = 1
    for axis in range(3):
        picture = cut(volume, axis, (2, 3, 4)[axis])
        assert np.argwhere(picture).tolist() == [[0, picture.shape[1] - 1]]


def test_a_window_is_shown_from_black_to_white(corner: np.ndarray, codebook: Codebook) -> None:
    image = np.full(SHAPE, 0.5)
    image[:, :4], image[:, 6:] = -9.0, 30.0  # air and metal
    found = middle_planes(image, np.zeros(SHAPE, np.uint8), corner, codebook, EVEN, (0.0, 1.0))
    sagittal = next(plane for plane in found if plane.name == "sagittal").image
    assert [*np.unique(sagittal)] == [0, 128, 255]
