"""Volumes of other formats: the same numbers in the same place as in NIfTI, and the same care."""

from __future__ import annotations

import gzip
import re
import tracemalloc
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from neoseg.digests import digest_of
from neoseg.inference.derivative import derivative_path, image_like, open_source
from neoseg.inference.inputs import find_scans
from neoseg.store import DataError, read_volume
from neoseg.store.nifti import open_image

sitk = pytest.importorskip("SimpleITK")

ANGLES = (0.3, -0.5, 0.8)


def oblique() -> np.ndarray:
    """Return an affine that turns, flips and stretches; no two axes alike."""
    (a, b, c), (x, y, z) = np.cos(ANGLES), np.sin(ANGLES)
    turn = np.array([[b * c, -b * z, y], [0, c, z], [0, -z, c]])
    turn, _ = np.linalg.qr(turn + a * np.eye(3) + x)
    affine = np.eye(4)
    affine[:3, :3], affine[:3, 3] = turn[:, [2, 0, 1]] * (0.7, -1.1, 1.9), (11.5, -7.25, 3)
    return affine


def write(folder: Path, ending: str, packed: bool = False, kind: str = "i2") -> tuple[Path, Path]:
    """Write one image as NIfTI and in another format; return both paths."""
    voxels = np.random.default_rng(0).integers(0, 99, (4, 5, 6)).astype(kind)
    image = nib.Nifti1Image(voxels, oblique())
    nifti, other = folder / "a.nii.gz", folder / f"b{ending}"
    nib.save(image, nifti)
    if ending in (".mgz", ".mgh"):
        nib.save(nib.MGHImage(voxels, oblique()), other)
    elif ending in (".hdr", ".img"):
        nib.save(nib.Nifti1Pair(voxels, oblique()), other)
    else:
        sitk.WriteImage(sitk.ReadImage(str(nifti)), str(other), packed)
    return nifti, other


@pytest.mark.parametrize("kind", ["u1", "i2", "i4", "f4"])
@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("ending", [".nrrd", ".mha"])
def test_what_simpleitk_writes_lies_where_nifti_does(tmp_path, ending, packed, kind) -> None:
    nifti, other = (read_volume(path) for path in write(tmp_path, ending, packed, kind))
    np.testing.assert_array_equal(other.data, nifti.data)
    np.testing.assert_allclose(other.native_affine, nifti.native_affine, atol=1e-5)
    assert other.native_shape == (4, 5, 6)
    assert other.scaling is None


@pytest.mark.parametrize("ending", [".mgz", ".mgh", ".hdr", ".img"])
def test_what_nibabel_writes_lies_where_nifti_does(tmp_path: Path, ending: str) -> None:
    paths = write(tmp_path, ending, kind="i4")
    nifti, other = (read_volume(path, np.int64) for path in paths)
    np.testing.assert_array_equal(other.data, nifti.data)
    np.testing.assert_allclose(other.native_affine, nifti.native_affine, atol=1e-5)


@pytest.mark.parametrize("mixed", [".Hdr", ".Img"])
def test_what_a_half_is_follows_from_its_bytes(tmp_path: Path, mixed: str) -> None:
    half = tmp_path / f"a{mixed}"
    half.write_bytes(b"a")
    before = digest_of(half)
    half.write_bytes(b"b")
    assert digest_of(half) != before


def test_a_pair_in_capitals_is_one_scan(tmp_path: Path) -> None:
    for ending in (".hdr", ".img"):
        write(tmp_path, ending)[1].rename(tmp_path / f"B{ending.upper()}")
    nifti, header, voxels = (tmp_path / name for name in ("a.nii.gz", "B.HDR", "B.IMG"))
    for half in (header, voxels):
        np.testing.assert_array_equal(read_volume(half).data, read_volume(nifti).data)
    before = digest_of(header)
    content = voxels.read_bytes()
    voxels.write_bytes(bytes([content[0] ^ 1]) + content[1:])
    assert digest_of(header) != before


def test_right_anterior_superior_and_big_endian(tmp_path: Path) -> None:
    voxels = np.arange(24, dtype=">i2")
    head = "NRRD0005\ntype: int16\ndimension: 3\nsizes: 2 3 4\nendian: big\nencoding: gzip\n"
    head += "space: right-anterior-superior\nspace directions: (2,0,0) (0,3,0) (0,0,4)\n"
    path = tmp_path / "a.nrrd"
    path.write_bytes(f"{head}space origin: (5,6,7)\n\n".encode() + gzip.compress(voxels.tobytes()))
    volume = read_volume(path)
    np.testing.assert_array_equal(
        volume.affine, [[2, 0, 0, 5], [0, 3, 0, 6], [0, 0, 4, 7], [0, 0, 0, 1]]
    )
    np.testing.assert_array_equal(volume.data, voxels.reshape((2, 3, 4), order="F"))


@pytest.mark.parametrize("ending", [".nrrd", ".mha"])
@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        (rb"(sizes: |DimSize = )4", rb"\g<1>9", "announces 540 bytes, 240 are"),
        (rb"(sizes: |DimSize = )4", rb"\g<1>3", "holds more than the 180 bytes"),
        (rb"(sizes: |DimSize = )4 5", rb"\g<1>30000 30000", "is not a whole"),
        (rb"(space directions|TransformMatrix)", rb"no\g<1>", "so left and right are unknown"),
        (rb"(type: |ElementType = ).*", rb"\g<1>block", "no valid header"),
        (rb"NRRD0004|ElementDataFile", b"nothing", "it does not begin as"),
    ],
)
def test_damage_is_told(tmp_path: Path, ending: str, old: bytes, new: bytes, says: str) -> None:
    _, path = write(tmp_path, ending)
    whole = path.read_bytes()
    path.write_bytes(re.sub(old, new, whole, count=1))
    assert path.read_bytes() != whole
    with pytest.raises(DataError, match=says) as caught:
        read_volume(path)
    assert str(path) in str(caught.value)


def test_voxels_in_another_file_are_not_read(tmp_path: Path) -> None:
    for ending, old in ((".nrrd", b"encoding: raw"), (".mha", b"LOCAL")):
        _, path = write(tmp_path, ending)
        new = b"data file: secret.raw\nencoding: raw" if ending == ".nrrd" else b"secret.raw"
        path.write_bytes(path.read_bytes().replace(old, new))
        with pytest.raises(DataError, match=r"its voxels are in 'secret\.raw'"):
            read_volume(path)


@pytest.mark.parametrize("ending", [".nrrd", ".mha", ".mgz"])
def test_packed_voxels_that_were_damaged_or_cut(tmp_path: Path, ending: str) -> None:
    _, path = write(tmp_path, ending, packed=True)
    whole = path.read_bytes()
    path.write_bytes(whole[:-40])
    with pytest.raises(DataError, match="is not a whole"):
        read_volume(path)
    path.write_bytes(whole[:-30] + bytes([whole[-30] ^ 255]) + whole[-29:])
    with pytest.raises(DataError, match="is not a whole"):
        read_volume(path)


def test_bombs_get_no_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _, path = write(tmp_path, ".nrrd", packed=True)
    head = path.read_bytes().partition(b"\n\n")[0]
    path.write_bytes(head + b"\n\n" + gzip.compress(bytes(2**23)))
    tracemalloc.start()
    with pytest.raises(DataError, match="holds more than the 240 bytes"):
        read_volume(path)
    assert tracemalloc.get_traced_memory()[1] < 2**22
    tracemalloc.stop()
    path.write_bytes(head.replace(b"4 5 6", b"30000 30000 30000") + b"\n\n" + gzip.compress(b""))
    with pytest.raises(DataError, match="bytes are announced"):
        read_volume(path)


def test_analyze_without_orientation_is_refused(tmp_path: Path) -> None:
    nib.save(nib.AnalyzeImage(np.ones((3, 4, 5), np.int16), np.eye(4)), tmp_path / "a.img")
    with pytest.raises(DataError, match=r"does not tell left from right.*convert its source"):
        read_volume(tmp_path / "a.img")


def test_mgh_without_orientation_is_refused(tmp_path: Path) -> None:
    """nibabel would give it the axes that FreeSurfer has as a rule."""
    _, path = write(tmp_path, ".mgh")
    raw = bytearray(path.read_bytes())
    raw[28:30] = b"\0\0"
    path.write_bytes(raw)
    with pytest.raises(DataError, match=r"has no orientation.*left and right are unknown"):
        read_volume(path)


@pytest.mark.parametrize(("unit", "told"), [("mm", False), ("cm", True), ("um", True)])
def test_the_unit_of_an_nrrd_is_told_unless_it_is_mm(tmp_path: Path, unit: str, told: bool) -> None:
    _, path = write(tmp_path, ".nrrd")
    head, _, voxels = path.read_bytes().partition(b"\n\n")
    path.write_bytes(head + f'\nspace units: "{unit}" "{unit}" "{unit}"\n\n'.encode() + voxels)
    notes = " ".join(note.sentence for note in read_volume(path).notes)
    assert (f"gives its lengths in {unit}, and its voxels are" in notes) is told


def test_the_smallest_int64_is_not_taken_for_background(tmp_path: Path) -> None:
    """It is what NaN becomes as an integer."""
    labels = np.ones((4, 5, 6), np.int64)
    labels[1, 1, 1] = np.iinfo(np.int64).min
    nib.save(nib.Nifti1Image(labels, oblique(), dtype=np.int64), tmp_path / "a.nii.gz")
    assert read_volume(tmp_path / "a.nii.gz", np.int64).data.min() < -(2**62)


def test_half_of_a_pair_and_the_digest_of_both(tmp_path: Path) -> None:
    _, path = write(tmp_path, ".img")
    other = path.with_suffix(".hdr")
    assert digest_of(path) == digest_of(other)
    before = digest_of(path)
    other.write_bytes(other.read_bytes()[:-1] + b"\1")
    assert digest_of(path) != before
    other.unlink()
    with pytest.raises(DataError, match=r"b\.hdr does not exist"):
        read_volume(path)


def test_dicom_is_told_with_the_line_that_converts_it(tmp_path: Path) -> None:
    for name in ("IM1", "scan.nii"):
        (tmp_path / name).write_bytes(bytes(128) + b"DICM")
    with pytest.raises(DataError, match=r"is a DICOM file.*dcm2niix -z y"):
        read_volume(tmp_path / "scan.nii")
    (tmp_path / "scan.nii").unlink()
    with pytest.raises(DataError, match="holds DICOM files; convert them: mkdir -p nifti && dcm2"):
        find_scans(tmp_path, ["T2w"])


@pytest.mark.parametrize(
    ("text", "action"),
    [
        ("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n", "git lfs pull"),
        ("/annex/objects/MD5E-s9--0.nii.gz\n", "datalad get"),
    ],
)
@pytest.mark.parametrize("name", ["a.nii.gz", "a.nii", "a.mgz", "a.nrrd"])
def test_pointers_are_told_with_what_fetches_the_file(
    tmp_path: Path, name: str, text: str, action: str
) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(DataError, match=action):
        read_volume(tmp_path / name)


@pytest.mark.parametrize("ending", [".nrrd", ".mha", ".mgz", ".hdr"])
def test_segmentations_lie_on_the_grid_of_their_image(tmp_path: Path, ending: str) -> None:
    _, path = write(tmp_path, ending, kind="i4")
    assert [scan.source for scan in find_scans(path.parent, ["T2w"])][-1] == path
    target = derivative_path(tmp_path / "out", path)
    assert target.name == "b_desc-neoseg_dseg.nii.gz"
    labels = np.arange(120, dtype=np.uint8).reshape(4, 5, 6)
    nib.save(image_like(open_source(path), labels), tmp_path / "out.nii.gz")
    out = read_volume(tmp_path / "out.nii.gz", np.int64)
    np.testing.assert_allclose(out.native_affine, oblique(), atol=1e-5)
    assert open_image(path).shape == out.native_shape


def test_images_of_one_name_get_names_of_their_scans(tmp_path: Path) -> None:
    source = tmp_path / "bert" / "mri" / "T1.mgz"
    assert derivative_path(tmp_path, source) == tmp_path / "bert_T1_desc-neoseg_dseg.nii.gz"
    named = derivative_path(tmp_path, tmp_path / "x" / "image.nrrd", "sub-01_ses-a")
    assert named == tmp_path / "sub-01/ses-a/anat/sub-01_ses-a_desc-neoseg_dseg.nii.gz"
    own = derivative_path(tmp_path, tmp_path / "sub-01_space-T2w_T1w.nii.gz", "sub-01")
    assert own == tmp_path / "sub-01/anat/sub-01_space-T2w_desc-neoseg_dseg.nii.gz"
