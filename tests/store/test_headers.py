"""Headers that contradict themselves."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from neoseg.findings.problems import Problem
from neoseg.store import PrepareSettings, prepare_images
from neoseg.store.damage import DataError
from neoseg.store.volume import read_volume

SHAPE = (6, 7, 8)
IMAGE = np.random.default_rng(0).integers(1, 100, SHAPE).astype(np.int16)
AFFINE = np.array([[2.0, 0, 0, -5], [0, 1.8, -0.4, 3], [0, 0.4, 1.8, 1], [0, 0, 0, 1]])
MIRRORED = np.diag([-1.0, 1, 1, 1]) @ AFFINE
TURNED = AFFINE @ np.array([[0, 1.0, 0, 0], [-1, 0, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]])


def write(path: Path, qform: np.ndarray | None = None, kind: type = nib.Nifti1Image) -> Path:
    image = kind(IMAGE, AFFINE)
    image.set_sform(AFFINE, 2)
    if qform is not None:
        image.set_qform(qform, 1)
    nib.save(image, path)
    return path


def spoil(path: Path, change: Callable[[bytearray], object]) -> Path:
    """Change the bytes of a file, unpacked."""
    packed = path.suffix == ".gz"
    content = bytearray(gzip.decompress(path.read_bytes()) if packed else path.read_bytes())
    change(content)
    path.write_bytes(gzip.compress(bytes(content)) if packed else bytes(content))
    return path


def put(at: int, *values: int) -> Callable[[bytearray], None]:
    def change(content: bytearray) -> None:
        content[at : at + len(values)] = bytes(values)

    return change


def notes(path: Path) -> list[Problem]:
    volume = read_volume(path)
    assert np.array_equal(np.sort(volume.data.ravel()), np.sort(IMAGE.ravel()))
    return list(volume.notes)


def error(path: Path) -> Problem:
    with pytest.raises(DataError) as caught:
        read_volume(path)
    (found,) = [p for p in caught.value.problems if p.severity == "error"]
    return found


@pytest.fixture(params=["a.nii", "a.nii.gz"])
def path(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    return tmp_path / request.param


@pytest.mark.parametrize("kind", [nib.Nifti1Image, nib.Nifti2Image])
@pytest.mark.parametrize("qform", [None, AFFINE])
def test_a_header_without_contradiction(path: Path, kind: type, qform: np.ndarray | None) -> None:
    assert notes(write(path, qform, kind)) == []


@pytest.mark.parametrize(("qform", "axes"), [(MIRRORED, "LAS"), (TURNED, "PRS")])
def test_a_flip_or_other_axes_are_an_error(path: Path, qform: np.ndarray, axes: str) -> None:
    found = error(write(path, qform))
    assert found.kind == "header-forms"
    assert f"lies in RAS by its sform and in {axes} by its qform" in found.found


@pytest.mark.parametrize(
    "keep", ["set_qform(image.get_sform(), 1)", "set_sform(image.get_qform(), 1)"]
)
def test_the_advice_about_a_flip_works(tmp_path: Path, keep: str) -> None:
    path = write(tmp_path / "a.nii.gz", MIRRORED)
    assert f"image.{keep}" in error(path).action
    image = nib.load(path)
    wanted = AFFINE if keep.startswith("set_qform") else MIRRORED
    name, source = keep.removesuffix("(), 1)").split("(image.")
    getattr(image, name)(getattr(image, source)(), 1)
    nib.save(image, tmp_path / "b.nii.gz")
    assert notes(tmp_path / "b.nii.gz") == []
    np.testing.assert_allclose(read_volume(tmp_path / "b.nii.gz").native_affine, wanted, atol=1e-5)


def test_a_shift_is_a_warning_and_rounding_is_none(path: Path) -> None:
    moved = AFFINE.copy()
    moved[0, 3] += 0.15
    assert notes(write(path, moved)) == []
    moved[0, 3] += 2.85
    (found,) = notes(write(path, moved))
    assert (found.kind, found.severity) == ("header-forms", "warning")
    assert "up to 3 mm apart" in found.found


def test_a_rotation_is_a_warning(path: Path) -> None:
    angle = np.radians(10)
    turn = np.eye(4)
    turn[:2, :2] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    (found,) = notes(write(path, AFFINE @ turn))
    assert found.kind == "header-forms"


def test_a_qform_that_is_none(path: Path) -> None:
    quaternion = np.array([3, 3, 3], "<f4").tobytes()
    (found,) = notes(spoil(write(path, AFFINE), put(256, *quaternion)))
    assert "a qform that is no rotation" in found.found
    np.testing.assert_allclose(read_volume(path).native_affine, AFFINE, atol=1e-6)


def test_a_sform_that_is_none(path: Path) -> None:
    """All of its first row and column are zeros."""
    write(path, AFFINE)
    for at in (280, 296, 312):
        spoil(path, put(at, 0, 0, 0, 0))
    assert error(path).kind == "singular-affine"


@pytest.mark.parametrize(("code", "unit"), [(1, "metres"), (3, "micrometres"), (5, "not exist")])
def test_lengths_are_millimetres_whatever_the_unit(path: Path, code: int, unit: str) -> None:
    (found,) = notes(spoil(write(path), put(123, code | 8)))
    assert (found.kind, found.severity) == ("header-sizes", "warning")
    assert unit in found.found
    assert "taken as mm" in found.action
    assert not notes(spoil(path, put(123, 2)))


def test_pixdim_against_the_affine(path: Path) -> None:
    (found,) = notes(spoil(write(path), put(80, *np.array([1.0], "<f4").tobytes())))
    assert found.kind == "header-sizes"
    assert "2 x 1.84 x 1.84 mm by its sform, and of 1 x 1.84 x 1.84 mm by its pixdim" in found.found


def test_numbers_scaled_without_bound(path: Path) -> None:
    (found,) = notes(spoil(write(path), put(112, *np.array([-np.inf], "<f4").tobytes())))
    assert (found.kind, found.severity) == ("header-type", "warning")
    assert "(scl_slope -inf)" in found.found
    assert not notes(spoil(path, put(112, *np.array([np.nan, 0], "<f4").tobytes())))


def test_bitpix_against_datatype(path: Path) -> None:
    (found,) = notes(spoil(write(path), put(72, 32)))
    assert (found.kind, found.severity) == ("header-type", "warning")
    # Eight bits by the datatype, sixteen by bitpix, and so many are there.
    spoil(write(path), put(70, 2))
    with pytest.raises(DataError) as caught:
        read_volume(path)
    assert {p.kind for p in caught.value.problems} == {"header-type", "trailing-bytes"}


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_fewer_voxels_than_there_are(path: Path, axis: int) -> None:
    found = error(spoil(write(path), put(42 + 2 * axis, SHAPE[axis] - 1)))
    assert found.kind == "trailing-bytes"
    lost = IMAGE.nbytes // SHAPE[axis]
    assert f"holds {lost} bytes more than the int16 voxels" in found.found


def test_a_lost_axis(path: Path) -> None:
    with pytest.raises(DataError) as caught:
        read_volume(spoil(write(path, AFFINE), put(40, 2)))
    assert {p.kind for p in caught.value.problems} == {"dimensions", "trailing-bytes"}


def test_padding_of_zeros_is_a_warning(path: Path) -> None:
    (found,) = notes(spoil(write(path), lambda content: content.extend(bytes(10))))
    assert (found.kind, found.severity) == ("trailing-bytes", "warning")
    assert error(spoil(path, lambda content: content.extend(b"x"))).kind == "trailing-bytes"


def test_prediction_tells_what_it_finds(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    moved = AFFINE.copy()
    moved[0, 3] += 3
    prepare_images([write(tmp_path / "a.nii.gz", moved)], PrepareSettings())
    assert "a.nii.gz lies in RAS by its sform" in caplog.text
