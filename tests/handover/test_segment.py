"""The stand-alone script prepares a scan as `predict` does; it needs no ONNX for that."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest

from neoseg.handover.segment import limited, prepared, read, without_padding
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


AFFINE = np.diag([1.0, 1.2, 1.5, 1.0])
HEAD = np.random.default_rng(0).normal(100, 20, (9, 8, 7)).astype(np.float32)


def written(path: Path, data: np.ndarray = HEAD, affine: np.ndarray | None = AFFINE) -> str:
    nib.save(nib.Nifti1Image(data, affine), path)
    return str(path)


@pytest.mark.parametrize(
    ("data", "affine", "told"),
    [
        (np.where(HEAD > 150, np.nan, HEAD), AFFINE, "NaN or infinite"),
        (np.stack([HEAD, HEAD], axis=3), AFFINE, r"shape \(9, 8, 7, 2\)"),
        (HEAD[0], AFFINE, r"shape \(8, 7\)"),
        (HEAD, None, "left and right are unknown"),
        (HEAD, np.diag([0.001, 0.001, 0.001, 1]), "expected 0.01 to 20"),
    ],
)
def test_what_predict_refuses_ends_the_script(tmp_path, data, affine, told) -> None:
    path = written(tmp_path / "a.nii.gz", data, affine)
    with pytest.raises(SystemExit, match=told):
        read(path)


def test_a_format_that_does_not_tell_left_from_right_ends_the_script(tmp_path: Path) -> None:
    for kind in (nib.AnalyzeImage, nib.Spm99AnalyzeImage):
        nib.save(kind(HEAD, AFFINE), tmp_path / "a.img")
        with pytest.raises(SystemExit, match="left and right are unknown"):
            read(str(tmp_path / "a.img"))


def test_images_and_masks_lie_where_the_first_image_lies(tmp_path) -> None:
    settings: dict[str, Any] = {
        "modalities": ["T2w", "T1w"],
        "flags": 0,
        "normalise": "zscore",
        "window": None,
        "foreground": "head",
        "crop_margin": None,
        "spacing": None,
    }
    first = written(tmp_path / "t2.nii.gz")
    flip = np.diag([-1.0, 1, 1, 1])
    flip[0, 3] = 8
    same = written(tmp_path / "flipped.nii.gz", HEAD[::-1], AFFINE @ flip)
    moved = written(tmp_path / "moved.nii.gz", affine=AFFINE + np.eye(4, k=3))
    smaller = written(tmp_path / "smaller.nii.gz", HEAD[1:])
    image, _ = prepared(settings, [first, same])
    with pytest.raises(SystemExit, match="other units"):
        prepared({**settings, "spacing": [0.1, 0.1, 0.1]}, [first, same])
    np.testing.assert_allclose(image[0], image[1], rtol=1e-6)
    for path, told in ((moved, "does not lie where"), (smaller, r"shape \(8, 8, 7\)")):
        with pytest.raises(SystemExit, match=told):
            prepared(settings, [first, path])
        masked = {**settings, "modalities": ["T2w"], "foreground": "mask"}
        with pytest.raises(SystemExit, match=told):
            prepared(masked, [first], path)
