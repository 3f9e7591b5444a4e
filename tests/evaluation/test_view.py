"""Views: crop, thinning, colours, and a file that holds data alone."""

from __future__ import annotations

import numpy as np
import pytest

from neoseg.evaluation import view as module
from neoseg.evaluation.view import make_view, read_view, write_view
from neoseg.labels import UNKNOWN, Codebook

SHAPE = (60, 50, 40)
SPACING = (2.0, 1.0, 4.0)
L, R, CSF = 1, 2, 3


@pytest.fixture
def scene() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Image, truth codes, predicted leaves."""
    leaves = np.zeros(SHAPE, np.uint8)
    leaves[20:40, 15:30, 10:20] = L
    leaves[30:40, 15:30, 10:20] = R
    image = np.random.default_rng(0).normal(size=SHAPE) + 10.0 * (leaves > 0)
    prediction = leaves.copy()
    prediction[30:32] = 0
    prediction[0, 0, 0] = CSF
    return image, leaves + np.uint8(1), prediction


def test_crop_is_what_the_truth_labels_with_a_margin(scene, codebook) -> None:
    view = make_view("sub-1", *scene, codebook, SPACING)
    box = (slice(16, 44), slice(7, 38), slice(8, 22))
    assert view.truth.shape == (28, 31, 14)
    assert view.spacing == SPACING
    names = np.array(view.names)
    expected = np.array(["BG", "L", "R", "CSF"])
    assert np.array_equal(names[view.truth], expected[scene[1][box] - 1])
    assert np.array_equal(names[view.prediction], expected[scene[2][box]])
    assert np.array_equal(view.wrong > 0, (scene[1] - 1 != scene[2])[box])
    assert view.names[0] == "BG"
    assert view.colours[view.names.index("L")] == "#ff0000"
    assert view.image.dtype == np.uint8
    assert (view.image.min(), view.image.max()) == (0, 255)


def test_fine_grids_are_thinned(monkeypatch, scene, codebook) -> None:
    monkeypatch.setattr(module, "_LONGEST", 16)
    view = make_view("sub-1", *scene, codebook, SPACING)
    # Twice along the first two axes; the centre of a pair is its second voxel.
    assert view.spacing == (4.0, 2.0, 4.0)
    assert np.array_equal(view.truth > 0, (scene[1][17:44:2, 8:38:2, 8:22] > 1))
    assert view.image.shape == view.truth.shape == view.wrong.shape
    block = scene[0][16:18, 7:9, 8].mean(), scene[0][30:32, 21:23, 12].mean()
    assert (view.image[0, 0, 0] < view.image[7, 7, 4]) == (block[0] < block[1])


def test_means_of_blocks() -> None:
    volume = np.arange(5, dtype=np.float32).reshape(5, 1, 1)
    assert module._means(volume, (2, 1, 1), (2, 1, 1)).ravel().tolist() == [0.5, 3.0]


def test_partial_truth_has_names_and_no_false_alarm(scene, codebook, space) -> None:
    image, codes, prediction = scene
    codes = codes.copy()
    codes[codes == L + 1] = codebook.code(space.label_set("LR"))
    codes[:, :20] = UNKNOWN
    view = make_view("sub-1", image, codes, prediction, codebook, SPACING)
    names = np.array(view.names)
    assert set(names[np.unique(view.truth)]) == {"BG", "LR", "R", "unknown"}
    assert not view.wrong[names[view.truth] == "unknown"].any()
    told = (names[view.truth] == "LR") & (names[view.prediction] == "R")
    assert not view.wrong[told].any()


def test_an_empty_truth_keeps_everything(scene, codebook) -> None:
    image, _, prediction = scene
    view = make_view("a", image, np.ones(SHAPE, np.uint8), prediction, codebook, SPACING)
    assert view.truth.shape == SHAPE


def test_round_trip(tmp_path, scene, codebook) -> None:
    view = make_view("sub-1_ses-2", *scene, codebook, SPACING)
    path = write_view(tmp_path / "views", view)
    assert path == tmp_path / "views" / "sub-1_ses-2.npz"
    again = read_view(path)
    for name in ("image", "truth", "prediction", "wrong"):
        assert np.array_equal(getattr(again, name), getattr(view, name))
    for name in ("scan", "spacing", "names", "colours"):
        assert getattr(again, name) == getattr(view, name)
    assert [p.name for p in path.parent.iterdir()] == [path.name]


def test_damaged_or_foreign_files_are_named(tmp_path, scene, codebook) -> None:
    path = write_view(tmp_path, make_view("a", *scene, codebook, SPACING))
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(ValueError, match=r"a\.npz is not a view"):
        read_view(path)
    np.savez(path, about=np.array("{}"))
    with pytest.raises(ValueError, match=r"a\.npz is not a view"):
        read_view(path)
    np.savez(path, about=np.array([{"scan": 1}], dtype=object))
    with pytest.raises(ValueError, match=r"a\.npz is not a view"):
        read_view(path)


def test_shapes_must_agree(scene, codebook) -> None:
    image, codes, prediction = scene
    with pytest.raises(ValueError, match="one shape"):
        make_view("a", image[1:], codes, prediction, codebook, SPACING)


def test_a_window_is_shown_from_black_to_white(codebook: Codebook) -> None:
    image = np.full(SHAPE, 40.0, np.float32)
    image[:8], image[-8:] = -1000.0, 3071.0
    codes, leaves = np.ones(SHAPE, np.uint8), np.zeros(SHAPE, np.uint8)
    view = make_view("a", image, codes, leaves, codebook, SPACING, (-160.0, 240.0))
    assert [*np.unique(view.image)] == [0, 128, 255]
