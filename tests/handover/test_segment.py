"""The stand-alone script prepares a scan as `predict` does; it needs no ONNX for that."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from neoseg.handover.segment import limited
from neoseg.store.checks import check_outliers


@pytest.mark.parametrize("far", [0.0, 1e3, 1e6, -1e30])
def test_voxels_far_beyond_all_others_are_limited_alike(far: float) -> None:
    data = np.random.default_rng(0).normal(100, 20, (20, 20, 20)).astype(np.float32)
    data[3, 4, 5] += np.float32(far)
    ours, _ = check_outliers(Path("a.nii"), data)
    np.testing.assert_array_equal(limited(data), ours)
    assert -1e3 < ours.min() < ours.max() < 2e3
