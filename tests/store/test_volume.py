from __future__ import annotations

import gzip
import re
import tracemalloc
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from small_cohort import AFFINE, save

from neoseg.findings.problems import Problem
from neoseg.store.checks import check_grid
from neoseg.store.damage import DataError
from neoseg.store.volume import read_volume

IMAGE = np.random.default_rng(0).normal(size=(5, 6, 7)).astype(np.float32)


def text(path: Path) -> None:
    path.write_text("participant_id\tsex\n")


def empty(path: Path) -> None:
    path.write_bytes(b"")


def truncated_gz(path: Path) -> None:
    save(path, IMAGE)
    path.write_bytes(path.read_bytes()[:-100])


def damaged_gz(path: Path) -> None:
    save(path, IMAGE)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0xFF
    path.write_bytes(content)


def truncated(path: Path) -> None:
    save(path, IMAGE)
    path.write_bytes(path.read_bytes()[:-40])


def gzipped_text(path: Path) -> None:
    path.write_bytes(gzip.compress(b"no image"))


@pytest.mark.parametrize(
    ("name", "spoil"),
    [
        ("a.nii", text),
        ("a.nii.gz", text),
        ("a.nii", empty),
        ("a.nii.gz", empty),
        ("a.nii.gz", truncated_gz),
        ("a.nii.gz", damaged_gz),
        ("a.nii", truncated),
        ("a.nii.gz", gzipped_text),
    ],
)
def test_a_file_that_is_not_whole_is_named_with_its_size(tmp_path: Path, name, spoil) -> None:
    path = tmp_path / name
    spoil(path)
    with pytest.raises(DataError, match="not a whole NIfTI file") as caught:
        read_volume(path)
    assert f"{path} ({path.stat().st_size} bytes)" in str(caught.value)


@pytest.mark.parametrize("make", [lambda p: None, lambda p: p.mkdir()])
def test_a_file_that_is_not_there(tmp_path: Path, make) -> None:
    make(tmp_path / "a.nii.gz")
    with pytest.raises(DataError, match=r"a\.nii\.gz does not exist"):
        read_volume(tmp_path / "a.nii.gz")


@pytest.mark.parametrize("shape", [(5, 6, 7, 2), (5, 6), (5, 6, 7, 1, 3)])
def test_other_dimensions_are_refused(tmp_path: Path, shape: tuple[int, ...]) -> None:
    path = save(tmp_path / "a.nii.gz", np.zeros(shape, np.float32))
    with pytest.raises(DataError, match=r"a\.nii\.gz has shape \("):
        read_volume(path)


def test_maps_of_probabilities_are_no_labels(tmp_path: Path) -> None:
    path = save(tmp_path / "a.nii.gz", np.zeros((4, 4, 4, 3), np.float32))
    with pytest.raises(DataError, match="write one label map: the largest"):
        read_volume(path, dtype=np.int64)
    with pytest.raises(DataError, match="write each volume of a series"):
        read_volume(path)


def test_a_file_that_is_not_compressed_has_to_be_renamed(tmp_path: Path) -> None:
    plain = save(tmp_path / "a.nii", np.zeros((4, 4, 4), np.float32))
    packed = plain.rename(tmp_path / "b.nii.gz")
    with pytest.raises(DataError, match=r"although its name ends in \.gz, .*; rename it to b\.nii"):
        read_volume(packed)


def test_a_trailing_axis_of_one_is_dropped(tmp_path: Path) -> None:
    volume = read_volume(save(tmp_path / "a.nii.gz", IMAGE[..., None]))
    np.testing.assert_array_equal(volume.data, IMAGE)
    assert volume.native_shape == IMAGE.shape


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_values_that_are_not_finite_are_counted(tmp_path: Path, value: float) -> None:
    image = IMAGE.copy()
    image[1, 2, 3:5] = value
    with pytest.raises(DataError, match="2 voxels that are NaN or infinite"):
        read_volume(save(tmp_path / "a.nii.gz", image))


def test_values_beyond_float32_count_as_infinite(tmp_path: Path) -> None:
    image = IMAGE.astype(np.float64)
    image[0, 0, 0] = 1e300
    path = save(tmp_path / "a.nii.gz", image)
    with pytest.raises(DataError, match="1 voxels that are NaN or infinite"):
        read_volume(path)
    assert read_volume(path, np.int64).data.dtype == np.float64


@pytest.mark.parametrize("cell", [0.0, np.nan, np.inf])
def test_an_affine_without_voxel_size_is_refused(tmp_path: Path, cell: float) -> None:
    affine = np.diag([1.0, cell, 1.0, 1.0])
    image = nib.Nifti1Image(IMAGE, None)
    image.header.set_sform(affine, code=1)
    image.header["sform_code"] = 1
    nib.save(image, tmp_path / "a.nii.gz")
    with pytest.raises(DataError, match="affine that is singular or not finite"):
        read_volume(tmp_path / "a.nii.gz")


@pytest.mark.parametrize("kind", [np.complex64, [("R", "u1"), ("G", "u1"), ("B", "u1")]])
def test_voxels_that_are_no_numbers_are_refused(tmp_path: Path, kind) -> None:
    path = save(tmp_path / "a.nii.gz", np.zeros((3, 3, 3), dtype=kind))
    with pytest.raises(DataError, match="expected numbers"):
        read_volume(path)


@pytest.mark.parametrize(
    "kind", ["u1", "i2", "i4", "u4", "i8", "u8", "f4", "f8", ">i2", ">f4", ">f8", ">i8"]
)
def test_every_type_gives_the_same_numbers(tmp_path: Path, kind: str) -> None:
    labels = np.arange(5 * 6 * 7).reshape(5, 6, 7) % 88
    dtype = np.dtype(kind)
    header = nib.Nifti1Header(endianness=">" if kind.startswith(">") else "<")
    header.set_data_dtype(dtype)
    image = nib.Nifti1Image(labels.astype(dtype), AFFINE, header, dtype=dtype)
    nib.save(image, tmp_path / "a.nii.gz")
    raw = gzip.decompress((tmp_path / "a.nii.gz").read_bytes())
    assert int.from_bytes(raw[:4], "big" if kind.startswith(">") else "little") == 348
    volume = read_volume(tmp_path / "a.nii.gz")
    assert volume.data.dtype == np.float32
    np.testing.assert_array_equal(volume.data, labels)
    stored = read_volume(tmp_path / "a.nii.gz", np.int64)
    assert stored.data.dtype.isnative
    np.testing.assert_array_equal(stored.data, labels)


def test_bool_arrays_stored_as_bytes(tmp_path: Path) -> None:
    mask = IMAGE > 0
    volume = read_volume(save(tmp_path / "a.nii.gz", mask.astype(np.uint8)), np.int64)
    np.testing.assert_array_equal(volume.data, mask)


def test_whole_numbers_beyond_int32_stay_exact(tmp_path: Path) -> None:
    values = np.array([0, 2**31, 2**40], np.int64).reshape(3, 1, 1)
    image = nib.Nifti1Image(values, AFFINE, dtype=np.int64)
    nib.save(image, tmp_path / "a.nii")
    np.testing.assert_array_equal(read_volume(tmp_path / "a.nii", np.int64).data, values)


def test_the_scaling_of_the_header_is_applied(tmp_path: Path) -> None:
    image = nib.Nifti1Image(np.full((2, 2, 2), 7, np.int16), AFFINE)
    image.header.set_slope_inter(0.5, 10)
    nib.save(image, tmp_path / "a.nii")
    stored = nib.load(tmp_path / "a.nii")
    expected = np.asanyarray(stored.dataobj)
    np.testing.assert_array_equal(read_volume(tmp_path / "a.nii").data, expected)


def test_the_result_is_in_canonical_axes(tmp_path: Path) -> None:
    # Stored as posterior, left, superior: axis 0 runs along -y, axis 1 along -x.
    affine = np.array([[0, -2.0, 0, 5], [-1.0, 0, 0, 6], [0, 0, 3.0, 7], [0, 0, 0, 1]])
    volume = read_volume(save(tmp_path / "a.nii.gz", IMAGE, affine))
    assert nib.aff2axcodes(volume.affine) == ("R", "A", "S")
    np.testing.assert_array_equal(volume.data, IMAGE.transpose(1, 0, 2)[::-1, ::-1])
    assert volume.data.flags.c_contiguous
    assert volume.native_shape == (5, 6, 7)
    np.testing.assert_array_equal(volume.native_affine, affine)


def test_grids_may_differ_by_rounding_only(tmp_path: Path) -> None:
    first = tmp_path / "a.nii.gz"

    def compare(name: str, image: np.ndarray, affine: np.ndarray) -> list[Problem]:
        volume = read_volume(save(tmp_path / name, image, affine))
        grid = (volume.native_shape, volume.native_affine)
        return check_grid(tmp_path / name, *grid, first, IMAGE.shape, AFFINE)

    nudged = AFFINE.copy()
    nudged[0, 3] += 5e-4
    assert compare("near.nii.gz", IMAGE, nudged) == []

    nudged[0, 3] += 5e-3
    (far,) = compare("far.nii.gz", IMAGE, nudged)
    assert re.search(r"far\.nii\.gz.*a\.nii\.gz .*0\.0055 mm", str(far))

    (other,) = compare("other.nii.gz", IMAGE[1:], AFFINE)
    assert "other.nii.gz" in str(other)
    assert "has shape (4, 6, 7)" in str(other)


def test_a_packed_file_that_announces_much_gets_no_room_for_it(tmp_path, monkeypatch) -> None:
    path = tmp_path / "a.nii.gz"
    image = nib.Nifti1Image(np.zeros((2, 2, 2), np.uint8), np.eye(4))
    raw = bytearray(image.to_bytes())
    raw[40:56] = np.array([3, 30000, 30000, 20, 1, 1, 1, 1], "<i2").tobytes()
    path.write_bytes(gzip.compress(bytes(raw)))
    monkeypatch.setattr("neoseg.store.nifti.free_memory", lambda: 2**62)
    tracemalloc.start()
    with pytest.raises(DataError, match="announces 18000000352 bytes"):
        read_volume(path)
    assert tracemalloc.get_traced_memory()[1] < 2**26
    tracemalloc.stop()
