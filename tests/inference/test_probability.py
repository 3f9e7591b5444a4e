"""Probabilities as files: names, grid, 16 bits."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from small_segmenter import write_scan

from neoseg.inference.dataset import DerivativeError, Provenance
from neoseg.inference.probability import (
    STEPS,
    ClassProbabilities,
    probability_paths,
    room_for,
    values_outside,
    write_probabilities,
)
from neoseg.store import Geometry, PrepareSettings, prepare_images

RUN = Provenance("neoseg", "0.1.0", "run")
SHAPE = (6, 5, 4)


@pytest.fixture
def scan(tmp_path) -> tuple[Path, Geometry]:
    data = np.random.default_rng(0).random(SHAPE)
    name = "sub-01_ses-2_desc-restore_T2w.nii.gz"
    source = write_scan(tmp_path / "in" / name, data, "PSR", (0.5, 0.6, 0.7), "micron")
    return source, prepare_images([source], PrepareSettings(crop_margin=None))[1]


def test_files(tmp_path, space, scan) -> None:
    source, geometry = scan
    values = np.random.default_rng(1).random((2, *SHAPE)).astype(np.float16)
    values[0, 0, 0, :2] = (0, 1)
    found = ClassProbabilities((4, 0), values, (0.0, 1.0), geometry)
    paths = write_probabilities(tmp_path / "out", source, found, space, RUN)
    assert paths == probability_paths(tmp_path / "out", source, space, (4, 0))
    folder = tmp_path / "out" / "sub-01" / "ses-2" / "anat"
    assert [p.relative_to(folder).as_posix() for p in paths] == [
        "sub-01_ses-2_label-LR_desc-neoseg_probseg.nii.gz",
        "sub-01_ses-2_label-BG_desc-neoseg_probseg.nii.gz",
    ]
    old = nib.load(source)
    for number, path in enumerate(paths):
        new = nib.load(path)
        assert new.get_data_dtype() == np.uint16
        assert new.shape == old.shape
        np.testing.assert_array_equal(new.affine, old.affine)
        assert new.header.get_xyzt_units() == ("mm", "unknown")
        assert (new.header["cal_min"], new.header["cal_max"]) == (0, 1)
        stored = np.asarray(new.dataobj)
        np.testing.assert_allclose(stored, found.native(number), atol=0.51 / STEPS)
        turned = stored.transpose(2, 0, 1)[:, ::-1]  # from PSR
        np.testing.assert_allclose(turned, values[number], atol=1 / STEPS)
    assert np.asarray(nib.load(paths[0]).dataobj).min() == 0
    assert np.asarray(nib.load(paths[0]).dataobj).max() == pytest.approx(1, abs=1e-6)
    assert (tmp_path / "out" / "dataset_description.json").is_file()


def test_cropped_values_come_back(tmp_path, space, scan) -> None:
    source, _ = scan
    data = np.zeros((20, 16, 12))
    data[6:14, 4:12, 3:9] = 1
    source = write_scan(tmp_path / "b.nii.gz", data)
    image, geometry = prepare_images([source], PrepareSettings(crop_margin=2.0))
    values = np.clip(image, 0, 1).astype(np.float16)
    values[0, :, :, :] = np.linspace(0, 1, values.shape[1], dtype=np.float16)[:, None, None]
    native = ClassProbabilities((0,), values, (1.0,), geometry).native(0)
    (low, high), *_ = geometry.crop
    assert native.shape == data.shape
    assert (native[:low] == 1).all()
    assert (native[high:] == 1).all()
    np.testing.assert_array_equal(native[low:high, 8, 6], values[0, :, 4, 4])


def test_canonical_values_are_only_turned(space, scan) -> None:
    _, geometry = scan
    values = np.random.default_rng(1).random((1, *SHAPE)).astype(np.float16)
    found = ClassProbabilities((0,), values, (1.0,), geometry, canonical=True)
    np.testing.assert_array_equal(found.native(0).transpose(2, 0, 1)[:, ::-1], values[0])


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("sub-1_T2w.nii", "sub-1/anat/sub-1_label-HIPL_desc-neoseg_probseg.nii.gz"),
        ("scan12.nii.gz", "scan12_label-HIPL_desc-neoseg_probseg.nii.gz"),
    ],
)
def test_labels_have_letters_and_digits_only(drawem87, name, expected) -> None:
    position = drawem87.class_position("HIP_L")
    (path,) = probability_paths(Path("out"), Path(name), drawem87, [position])
    assert path == Path("out") / expected


def test_names_are_unique(drawem87, monkeypatch) -> None:
    everything = range(drawem87.num_classes)
    paths = probability_paths(Path("out"), Path("a.nii"), drawem87, everything)
    assert len(set(paths)) == drawem87.num_classes
    same = [c for c in drawem87.classes if c.abbreviation in ("HIP_L", "HIP_R")]
    monkeypatch.setattr("neoseg.inference.probability.re.sub", lambda *_: "HIP")
    paths = probability_paths(Path("out"), Path("a.nii"), drawem87, everything)
    assert len(set(paths)) == drawem87.num_classes
    assert len(same) == 2


def test_outside_is_certain_background(space) -> None:
    assert values_outside(space, range(5)) == (1, 0, 0, 0, 0)


def test_room_on_disk_leaves_nothing_behind(tmp_path) -> None:
    values = room_for(2, (3, 4, 5), tmp_path / "new")
    assert (values == 0).all()
    values[1] = 0.5
    assert (values[1] == 0.5).all()
    assert list((tmp_path / "new").iterdir()) == []


def test_folders_of_others_are_left_alone(tmp_path, space, scan) -> None:
    source, geometry = scan
    out = tmp_path / "bids"
    out.mkdir()
    (out / "dataset_description.json").write_text('{"Name": "mine"}')
    found = ClassProbabilities((0,), np.zeros((1, *SHAPE), np.float16), (1.0,), geometry)
    with pytest.raises(DerivativeError, match="that neoseg did not make"):
        write_probabilities(out, source, found, space, RUN)
    assert not (out / "sub-01").exists()


def test_a_mean_a_little_above_one_is_one(tmp_path, space, scan) -> None:
    """Nine networks that are sure, added up in float16."""
    source, geometry = scan
    values = np.full((1, *SHAPE), np.nextafter(np.float16(1), np.float16(2)))
    found = ClassProbabilities((4,), values, (0.0,), geometry)
    (path,) = write_probabilities(tmp_path / "out", source, found, space, RUN)
    assert np.asarray(nib.load(path).dataobj).min() == pytest.approx(1)
