"""The stand-alone script prepares a scan as `predict` does; it needs no ONNX for that."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from neoseg.handover.segment import limited, without_padding
from neoseg.store import brightness
from neoseg.store.brightness import check_outliers, check_padding


@pytest.mark.parametrize("far", [0.0, 1e3, 1e6, -1e30])
def test_voxels_far_beyond_all_others_are_limited_alike(far: float) -> None:
    data = np.random.default_rng(0).normal(100, 20, (20, 20, 20)).astype(np.float32)
    data[3, 4, 5] += np.float32(far)
    ours, _ = check_outliers(Path("a.nii"), data)
    np.testing.assert_array_equal(limited(data), ours)
    assert -1e3 < ours.min() < ours.max() < 2e3


def test_two_borders_with_nothing_between_are_no_border() -> None:
    data = np.zeros((8, 8, 8), np.float32)
    data[4:] = 1
    assert without_padding(data).shape == brightness.without_padding(data).shape == data.shape


@pytest.mark.parametrize("border", [0.0, -3000.0, 1e4])
def test_a_border_far_from_the_image_is_brought_to_it_alike(border: float) -> None:
    data = np.random.default_rng(0).normal(100, 20, (20, 20, 20)).astype(np.float32)
    padded = np.pad(data, 3, constant_values=border)
    ours, problems = check_padding(Path("a.nii"), padded)
    np.testing.assert_array_equal(limited(padded), ours)
    assert bool(problems) == bool(border)
    inside = data if border else padded
    assert (ours.min(), ours.max()) == (inside.min(), inside.max())
