"""Pictures: rows, colours, and what counts as disagreement."""

from __future__ import annotations

import matplotlib.image
import numpy as np
import pytest
from matplotlib.colors import to_rgb

from neoseg.inference import overlay, planes
from neoseg.inference.overlay import write_overlay
from neoseg.inference.planes import centre_of

SHAPE = (30, 40, 24)
SPACING = (1.0, 0.8, 1.5)


@pytest.fixture
def scene() -> tuple[np.ndarray, np.ndarray]:
    """A dark image with bright anatomy, and its leaf positions."""
    labels = np.zeros(SHAPE, np.uint8)
    labels[8:15, 10:30, 6:18] = 1
    labels[15:22, 10:30, 6:18] = 2
    labels[12:18, 16:24, 9:15] = 3
    image = np.where(labels > 0, 200, 0).astype(np.float32)
    return image, labels


def picture(path) -> np.ndarray:
    return matplotlib.image.imread(path)[..., :3]


def share(pixels: np.ndarray, colour: tuple[float, ...]) -> float:
    return float((np.abs(pixels - np.array(colour)) < 0.02).all(axis=-1).mean())


def mixed(colour: str) -> tuple[float, ...]:
    """The colour of a label over white, as bright anatomy shows it."""
    return tuple((1 - overlay.OPACITY) + overlay.OPACITY * np.array(to_rgb(colour)))


def test_every_leaf_has_its_colour_and_errors_are_marked(tmp_path, scene, codebook) -> None:
    image, labels = scene
    wrong = labels.copy()
    wrong[labels == 3] = 1
    options = {"scan": "sub-1", "scan_age": 33.0, "mean_dice": 0.5}
    path = write_overlay(
        tmp_path / "new" / "a.png", image, wrong, labels + np.uint8(1), codebook, SPACING, **options
    )
    pixels = picture(path)
    for leaf in codebook.space.leaves[1:]:
        assert share(pixels, mixed(leaf.color)) > 0.003
    yellow = (1 - 0.85) + 0.85 * np.array(to_rgb(overlay.WRONG))
    assert share(pixels, tuple(yellow)) > 0.003
    right = write_overlay(
        tmp_path / "b.png", image, labels, labels + np.uint8(1), codebook, SPACING, **options
    )
    assert share(picture(right), tuple(yellow)) == 0
    assert [p.name for p in path.parent.iterdir()] == ["a.png"]


def test_partial_truth_shows_class_colours_and_grey_and_no_false_alarm(
    tmp_path, scene, codebook, space
) -> None:
    image, labels = scene
    codes = labels + np.uint8(1)
    codes[(labels == 1) | (labels == 2)] = codebook.code(space.label_set("LR"))
    codes[:, :20] = 0
    swapped = np.where(labels == 1, 2, np.where(labels == 2, 1, labels)).astype(np.uint8)
    pixels = picture(write_overlay(tmp_path / "a.png", image, swapped, codes, codebook, SPACING))
    assert share(pixels, mixed("#ffffff")) > 0.003
    assert share(pixels, mixed(planes.UNKNOWN_COLOUR)) > 0.003
    yellow = (1 - 0.85) + 0.85 * np.array(to_rgb(overlay.WRONG))
    assert share(pixels, tuple(yellow)) == 0


def test_without_truth_there_are_two_rows(tmp_path, scene, codebook) -> None:
    image, labels = scene
    alone = picture(write_overlay(tmp_path / "a.png", image, labels, None, codebook, SPACING))
    codes = labels + np.uint8(1)
    full = picture(write_overlay(tmp_path / "b.png", image, labels, codes, codebook, SPACING))
    assert alone.shape[0] < 0.7 * full.shape[0]


def test_empty_predictions_can_be_drawn(tmp_path, scene, codebook) -> None:
    image, labels = scene
    empty = np.zeros_like(labels)
    assert write_overlay(tmp_path / "a.png", image, empty, None, codebook, SPACING).is_file()


def test_centre_is_the_centre_of_mass_of_the_structures(scene, codebook) -> None:
    codes = scene[1] + np.uint8(1)
    where = np.argwhere(scene[1] > 0).mean(axis=0)
    assert centre_of(codes, 1) == tuple(round(v) for v in where)


def test_shapes_must_agree(tmp_path, scene, codebook) -> None:
    image, labels = scene
    with pytest.raises(ValueError, match="one shape"):
        write_overlay(tmp_path / "a.png", image[:-1], labels, None, codebook, SPACING)


def test_a_name_is_no_formula(tmp_path, scene, codebook, recwarn) -> None:
    """A file may be called like this, and matplotlib cannot read it."""
    image, labels = scene
    codes = labels + np.uint8(1)
    path = tmp_path / "a.png"
    write_overlay(path, image, labels, codes, codebook, SPACING, scan="a$_{$b\x1b[31m")
    assert path.is_file()
    assert not recwarn.list
