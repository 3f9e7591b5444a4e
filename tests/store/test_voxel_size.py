"""The voxel size of a run: that of its scans, whatever the last bits of their headers."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from pydantic import ValidationError

from neoseg.cohort import Cohort, Scan
from neoseg.labels import Convention
from neoseg.store import PrepareSettings, prepare_images
from neoseg.store.damage import DataError
from neoseg.store.voxel_size import size_warning, with_voxel_size


def cohort(folder: Path, space, *affines: np.ndarray) -> Cohort:
    scans = []
    for number, affine in enumerate(affines):
        path = folder / f"sub-{number}_T2w.nii.gz"
        voxels = np.random.default_rng(number).random((6, 7, 8), dtype=np.float32)
        nib.save(nib.Nifti1Image(voxels, affine), path)
        scans.append(Scan(str(number), None, (path,), None, None, None, None, "c"))
    return Cohort("c", tuple(scans), Convention.identity(space), ("T2w",))


def diagonal(x: float, y: float, z: float) -> np.ndarray:
    return np.diag([x, y, z, 1.0])


def test_scans_of_one_size_keep_it_and_nothing_is_told(tmp_path, space) -> None:
    oblique = diagonal(2, 2, 2)
    turn = np.deg2rad(17)
    oblique[:2, :2] = 2 * np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    turned = oblique.astype(np.float32)
    found = with_voxel_size(cohort(tmp_path, space, diagonal(2, 2, 2), turned), None)
    assert found.voxel_size == (2.0, 2.0, 2.0)
    assert found.problems == ()


def test_axes_are_the_bodys_not_the_files(tmp_path, space) -> None:
    sagittal = np.array([[0, 0, 5.0, 0], [0, 1, 0, 0], [2, 0, 0, 0], [0, 0, 0, 1]])
    found = with_voxel_size(cohort(tmp_path, space, sagittal), None)
    assert found.voxel_size == (5.0, 1.0, 2.0)


def test_several_sizes_get_the_median_that_is_told(tmp_path, space) -> None:
    fine, coarse = diagonal(1, 1, 1), diagonal(2, 2, 5)
    mixed = cohort(tmp_path, space, fine, coarse, coarse, fine)
    found = with_voxel_size(mixed, None)
    assert found.voxel_size == (1.0, 1.0, 1.0)
    (problem,) = found.problems
    assert (problem.kind, problem.severity) == ("mixed-voxel-sizes", "warning")
    assert "2 of 4 scans" in problem.found
    assert "2 of 2 x 2 x 5 mm" in problem.found
    assert with_voxel_size(mixed, (2.0, 2.0, 5.0)).voxel_size == (2.0, 2.0, 5.0)
    assert with_voxel_size(cohort(tmp_path, space, fine, coarse, coarse), None).voxel_size == (
        *(2.0, 2.0, 5.0),
    )


def test_headers_that_are_none_do_not_count(tmp_path, space) -> None:
    there = cohort(tmp_path, space, diagonal(1, 1, 1), diagonal(3, 3, 3), diagonal(3, 3, 3))
    for scan in there.scans[1:]:
        scan.images[0].write_bytes(b"no image")
    found = with_voxel_size(there, None)
    assert found.voxel_size == (1.0, 1.0, 1.0)
    assert found.problems == ()


@pytest.mark.parametrize("last_bits", [2.0, 1.99999998, 2.00000002, 1.9999999, 2.01])
@pytest.mark.parametrize("spacing", [(2.0, 2.0, 2.0), (4.0, 4.0, 4.0)])
def test_counts_of_voxels_do_not_hang_on_rounding(tmp_path, space, last_bits, spacing) -> None:
    """Seven voxels of 2 mm are three and a half of 4 mm."""
    affine = diagonal(last_bits, last_bits, last_bits)
    (scan,) = cohort(tmp_path, space, affine).scans
    settings = PrepareSettings(spacing=spacing, crop_margin=None)
    image, geometry = prepare_images(scan.images, settings)
    assert image.shape == ((1, 6, 7, 8) if spacing[0] == 2 else (1, 3, 4, 4))
    assert geometry.resampled == (spacing[0] != 2)


def test_one_length_is_three_and_none_is_negative() -> None:
    assert PrepareSettings(spacing=1.5).spacing == (1.5, 1.5, 1.5)
    for wrong in (0, -1.0, [1, 2], [1, 1, 0], float("nan")):
        with pytest.raises(ValidationError):
            PrepareSettings(spacing=wrong)


def test_slices_along_another_axis_are_told(tmp_path, space) -> None:
    told = size_warning((1.0, 8.0, 1.1), (1.0, 1.0, 8.0))
    assert told.startswith("has slices along another axis than the scans of the training")
    assert "coarser" in size_warning((1.0, 3.0, 1.0), (1.0, 1.0, 3.0))
    assert "coarser" in size_warning((0.8, 0.9, 5.0), (0.9, 0.8, 5.0))
    short, turned = (
        diagonal(1, 1, 8),
        np.array([[1, 0, 0, 0], [0, 0, 8, 0], [0, 1, 0, 0], [0, 0, 0, 1]]),
    )
    mixed = cohort(tmp_path, space, short, short, turned)
    (problem,) = with_voxel_size(mixed, None).problems
    assert "slices along several axes, 2 along z and 1 along y" in problem.found
    assert "write copies of images and labels in which all lie along one" in problem.action
    assert "keep the originals" in problem.action
    (problem,) = with_voxel_size(mixed, (1.0, 1.0, 1.0)).problems
    assert "slices along several axes" in problem.found
    assert problem.action == "they are resampled to it"
    (problem,) = with_voxel_size(cohort(tmp_path, space, short, diagonal(1, 1, 7)), None).problems
    assert "axes" not in str(problem)


def test_headers_in_other_units_are_told(tmp_path, space) -> None:
    mouse = (0.1, 0.1, 0.5)
    assert "multiplied by 10" in size_warning(mouse, (1.0, 1.0, 5.0))
    assert size_warning((0.25, 0.25, 0.25), (2.0, 2.0, 2.0)) == ""
    path = tmp_path / "a.nii.gz"
    nib.save(nib.Nifti1Image(np.random.default_rng(0).random((8, 8, 8)), diagonal(1, 1, 5)), path)
    with pytest.raises(DataError, match=r"1 x 1 x 5 mm, which would be resampled to 0\.1 x"):
        prepare_images([path], PrepareSettings(spacing=mouse))
    prepare_images([path], PrepareSettings(spacing=(0.2, 0.1, 0.5)))


def test_coarser_voxels_than_the_trainings_are_told_of() -> None:
    assert size_warning((2.0, 2.0, 5.0), (2.0, 2.0, 2.0)).startswith("has voxels of 2 x 2 x 5 mm")
    assert size_warning((1.0, 2.0, 2.1), (2.0, 2.0, 2.0)) == ""
    assert size_warning((9.0, 9.0, 9.0), None) == ""
