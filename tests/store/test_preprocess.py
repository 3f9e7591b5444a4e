from __future__ import annotations

import json
from dataclasses import asdict
from itertools import permutations, product
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from nibabel.orientations import inv_ornt_aff
from small_cohort import AFFINE, SHAPE, head, save

from neoseg.store.damage import DataError
from neoseg.store.foreground import crop_box
from neoseg.store.preprocess import (
    Geometry,
    PrepareSettings,
    prepare_images,
    prepare_labels,
    to_canonical,
    to_native,
)
from neoseg.store.volume import read_volume

ORIENTATIONS = [
    [[axis, sign] for axis, sign in zip(order, signs, strict=True)]
    for order in permutations(range(3))
    for signs in product((1, -1), repeat=3)
]
IMAGE, LABELS = head(np.random.default_rng(4))


def oriented(array: np.ndarray, orientation: list[list[int]]) -> tuple[np.ndarray, np.ndarray]:
    """The same head in another axis order, with the affine that says so."""
    turned = nib.apply_orientation(array, np.array(orientation))
    return turned, AFFINE @ inv_ornt_aff(np.array(orientation), array.shape)


def prepared(tmp_path: Path, **settings: object) -> tuple[np.ndarray, Geometry]:
    path = save(tmp_path / "image.nii.gz", IMAGE)
    return prepare_images([path], PrepareSettings(**settings))  # type: ignore[arg-type]


def restore_labels(labels: np.ndarray, geometry: Geometry, fill: int) -> np.ndarray:
    return to_native(to_canonical(labels, geometry, fill), geometry)


@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_labels_come_back_exactly_in_every_orientation(tmp_path: Path, orientation) -> None:
    image, affine = oriented(IMAGE, orientation)
    labels, _ = oriented(LABELS, orientation)
    path = save(tmp_path / "image.nii", image, affine)
    label_path = save(tmp_path / "labels.nii", labels, affine)
    array, geometry = prepare_images([path], PrepareSettings(crop_margin=1.0))

    # Whatever the file's axes, the prepared scan is the same.
    straight, reference = prepared(tmp_path, crop_margin=1.0)
    np.testing.assert_allclose(array, straight, atol=1e-5)
    np.testing.assert_allclose(geometry.spacing, (1.0, 0.8, 1.2))
    np.testing.assert_allclose(geometry.canonical_spacing, (1.0, 0.8, 1.2))
    # NIfTI keeps affines in single precision.
    np.testing.assert_allclose(geometry.prepared_affine, reference.prepared_affine, atol=1e-5)

    inner = prepare_labels(read_volume(label_path, np.int64).data, geometry)
    assert inner.shape == array.shape[1:] == geometry.prepared_shape
    back = restore_labels(inner, geometry, fill=0)
    assert back.shape == labels.shape
    crop = np.zeros(geometry.canonical_shape, bool)
    crop[tuple(slice(*pair) for pair in geometry.crop)] = True
    expected, _ = oriented(np.where(crop, LABELS, 0), orientation)
    np.testing.assert_array_equal(back, expected)


def test_outside_the_crop_is_fill(tmp_path: Path) -> None:
    _, geometry = prepared(tmp_path, crop_margin=0.0)
    assert geometry.prepared_shape < SHAPE
    ones = np.ones(geometry.prepared_shape, np.uint8)
    restored = restore_labels(ones, geometry, fill=9)
    assert (restored == 1).sum() == ones.size
    assert (restored == 9).sum() == IMAGE.size - ones.size
    assert restored.dtype == np.uint8


def test_the_crop_is_the_bright_box_and_its_margin(tmp_path: Path) -> None:
    image = np.zeros((20, 30, 40), np.float32)
    image[5:9, 10:13, 20:30] = 100  # the mean is 5.6 between here and the faintest voxel
    image[4, 12, 20] = 8
    image[2, 2, 2] = 3
    path = save(tmp_path / "a.nii.gz", image)
    for margin, pads in ((0.0, (0, 0, 0)), (2.4, (3, 3, 2)), (100.0, (100, 100, 100))):
        _, geometry = prepare_images([path], PrepareSettings(crop_margin=margin))
        bright = ((4, 9), (10, 13), (20, 30))
        assert geometry.crop == tuple(
            (max(0, low - pad), min(length, high + pad))
            for (low, high), pad, length in zip(bright, pads, image.shape, strict=True)
        )
    _, geometry = prepare_images([path], PrepareSettings(crop_margin=None))
    assert geometry.prepared_shape == image.shape


def test_the_prepared_affine_points_at_the_same_millimetres(tmp_path: Path) -> None:
    oblique = nib.affines.from_matvec(
        AFFINE[:3, :3] @ np.array([[0.9, -0.1, 0], [0.1, 0.9, 0], [0, 0, 1]]), [3, -4, 5]
    )
    where = np.stack(np.meshgrid(*map(np.arange, SHAPE), indexing="ij"), -1)
    x_mm = nib.affines.apply_affine(oblique, where)[..., 0].astype(np.float32)
    bright = save(tmp_path / "a.nii.gz", IMAGE, oblique)
    ramp = save(tmp_path / "b.nii.gz", x_mm, oblique)
    for spacing in (None, 1.5, 0.6):
        settings = PrepareSettings(spacing=spacing, crop_margin=0.0, normalise="minmax")
        array, geometry = prepare_images([bright, ramp], settings)
        mm = array[1] * (x_mm.max() - x_mm.min()) + x_mm.min()
        inner = np.stack(
            np.meshgrid(*[np.arange(2, n - 2) for n in array.shape[1:]], indexing="ij"), -1
        )
        expected = nib.affines.apply_affine(np.array(geometry.prepared_affine), inner)[..., 0]
        found = mm[tuple(inner.reshape(-1, 3).T)].reshape(expected.shape)
        np.testing.assert_allclose(found, expected, atol=1e-3)


@pytest.mark.parametrize("spacing", [0.4, 0.5, 1.0, 1.7])
def test_resampled_labels_are_never_interpolated(tmp_path: Path, spacing: float) -> None:
    _, geometry = prepared(tmp_path, spacing=spacing)
    labels = np.where(LABELS > 0, LABELS * 10, 0).astype(np.uint8)
    inner = prepare_labels(labels, geometry)
    assert inner.shape == geometry.prepared_shape
    assert inner.dtype == np.uint8
    assert set(np.unique(inner)) <= set(np.unique(labels))
    assert set(np.unique(to_canonical(inner, geometry, 0))) <= set(np.unique(labels))
    np.testing.assert_allclose(geometry.spacing, spacing, rtol=0.06)


def test_a_finer_grid_and_back_is_the_identity(tmp_path: Path) -> None:
    _, geometry = prepared(tmp_path, spacing=0.4, crop_margin=None)
    np.testing.assert_array_equal(
        restore_labels(prepare_labels(LABELS, geometry), geometry, 0), LABELS
    )


def test_a_coarser_grid_and_back_keeps_most(tmp_path: Path) -> None:
    _, geometry = prepared(tmp_path, spacing=1.6, crop_margin=None)
    back = restore_labels(prepare_labels(LABELS, geometry), geometry, 0)
    assert back.shape == LABELS.shape
    assert (back == LABELS).mean() > 0.75


def test_downsampling_does_not_alias(tmp_path: Path) -> None:
    stripes = np.zeros((32, 32, 32), np.float32)
    stripes[::2] = 1.0
    path = save(tmp_path / "a.nii.gz", stripes, np.eye(4))
    settings = PrepareSettings(spacing=4.0, crop_margin=None, normalise="minmax")
    array, _ = prepare_images([path], settings)
    assert array.shape == (1, 8, 8, 8)
    # The outermost samples see the stripes reflected at the border.
    assert np.abs(array[:, 1:-1] - 0.5).max() < 1e-3


def test_voxels_of_a_sheared_grid() -> None:
    shear = np.eye(4)
    shear[0, 1] = 0.35
    for rotation in (np.eye(3), np.linalg.qr(np.arange(9).reshape(3, 3) + np.eye(3))[0]):
        turned = np.eye(4)
        turned[:3, :3] = rotation @ np.diag([1.0, 0.8, 1.2])
        for affine, sheared in ((turned, False), (shear @ turned, True)):
            rows = tuple(map(tuple, affine.tolist()))
            grid = Geometry((2, 2, 2), rows, (2, 2, 2), (), (2, 2, 2), rows)
            assert grid.is_sheared == sheared
            assert grid.voxel_ml == pytest.approx(0.96e-3)


def test_the_geometry_survives_json(tmp_path: Path) -> None:
    _, geometry = prepared(tmp_path, spacing=0.9)
    again = Geometry.from_dict(json.loads(json.dumps(asdict(geometry))))
    assert again == geometry
    assert hash(again) == hash(geometry)


def test_labels_of_another_shape_are_refused(tmp_path: Path) -> None:
    _, geometry = prepared(tmp_path)
    with pytest.raises(ValueError, match=r"labels have shape \(2, 2, 2\)"):
        to_canonical(np.zeros((2, 2, 2), np.uint8), geometry, 0)


def test_zscore_of_the_head(tmp_path: Path) -> None:
    array, _ = prepared(tmp_path, normalise="zscore", crop_margin=None)
    inside = array[0][IMAGE.mean() < IMAGE]
    assert inside.mean() == pytest.approx(0, abs=1e-4)
    assert inside.std() == pytest.approx(1, abs=1e-4)


def test_minmax_of_the_whole_file(tmp_path: Path) -> None:
    array, _ = prepared(tmp_path, normalise="minmax", crop_margin=None)
    assert (array.min(), array.max()) == (0.0, 1.0)
    cropped, geometry = prepared(tmp_path, normalise="minmax", crop_margin=0.0)
    box = tuple(slice(*pair) for pair in geometry.crop)
    np.testing.assert_array_equal(cropped[0], array[0][box])


def test_percentile_is_not_moved_by_one_outlier(tmp_path: Path) -> None:
    image = IMAGE.copy()
    image[0, 0, 0] = 1e6
    settings = PrepareSettings(normalise="percentile", crop_margin=None)
    array, _ = prepare_images([save(tmp_path / "a.nii.gz", image)], settings)
    plain, _ = prepared(tmp_path, normalise="percentile", crop_margin=None)
    assert array.min() >= 0
    assert array.max() <= 1
    np.testing.assert_allclose(array[0, 5:-5, 5:-5, 5:-5], plain[0, 5:-5, 5:-5, 5:-5], atol=0.1)


@pytest.mark.parametrize("how", ["zscore", "minmax", "percentile"])
@pytest.mark.parametrize("case", ["two values", "far outlier", "far background"])
def test_odd_images_stay_finite_in_half_precision(tmp_path: Path, how: str, case: str) -> None:
    image = np.where(LABELS > 0, 100.0, 0.0).astype(np.float32)
    if case == "far outlier":
        image[0, 0, 0] = 1e9
    if case == "far background":
        image = np.where(LABELS > 0, IMAGE, np.float32(-3e9))
    array, _ = prepare_images(
        [save(tmp_path / "a.nii.gz", image)],
        PrepareSettings(normalise=how),  # type: ignore[arg-type]
    )
    assert np.isfinite(array.astype(np.float16)).all()
    assert array.std() > 0


def test_a_missing_modality_is_zero(tmp_path: Path) -> None:
    path = save(tmp_path / "t2.nii.gz", IMAGE)
    both, _ = prepare_images([path, None], PrepareSettings())
    one, _ = prepare_images([path], PrepareSettings())
    np.testing.assert_array_equal(both[0], one[0])
    assert not both[1].any()


@pytest.mark.parametrize("paths", [[], [None]])
def test_the_first_modality_is_needed(paths: list[None]) -> None:
    with pytest.raises(DataError, match="first modality"):
        prepare_images(paths, PrepareSettings())


def test_a_constant_image_is_refused(tmp_path: Path) -> None:
    path = save(tmp_path / "flat.nii.gz", np.full((4, 4, 4), 3, np.float32))
    with pytest.raises(DataError, match=r"flat\.nii\.gz is constant \(3 everywhere\)"):
        prepare_images([path], PrepareSettings())


def test_a_second_modality_on_another_grid_is_refused(tmp_path: Path) -> None:
    first = save(tmp_path / "t2.nii.gz", IMAGE)
    second = save(tmp_path / "t1.nii.gz", IMAGE[:-1])
    with pytest.raises(DataError, match=r"t1\.nii\.gz has shape .*t2\.nii\.gz"):
        prepare_images([first, second], PrepareSettings())


BRAIN = LABELS > 1


def masked(tmp_path: Path, mask: np.ndarray | None = BRAIN, **settings: object):
    path = save(tmp_path / "image.nii.gz", IMAGE)
    where = None if mask is None else save(tmp_path / "mask.nii.gz", mask.astype(np.uint8))
    wanted = PrepareSettings(foreground="mask", **settings)  # type: ignore[arg-type]
    return prepare_images([path], wanted, where)


def test_the_crop_goes_by_the_mask(tmp_path: Path) -> None:
    array, geometry = masked(tmp_path, crop_margin=0.0)
    hit = np.argwhere(BRAIN)
    expected = tuple((int(a), int(b) + 1) for a, b in zip(hit.min(0), hit.max(0), strict=True))
    assert geometry.crop == expected
    assert array.shape[1:] == tuple(b - a for a, b in expected)
    _, head_geometry = prepared(tmp_path, crop_margin=0.0)
    assert all(a[0] >= b[0] for a, b in zip(geometry.crop, head_geometry.crop, strict=True))
    assert geometry.crop != head_geometry.crop
    labels = restore_labels(prepare_labels(LABELS, geometry), geometry, 0)
    np.testing.assert_array_equal(labels[BRAIN], LABELS[BRAIN])


def test_zscore_in_the_mask(tmp_path: Path) -> None:
    array, _ = masked(tmp_path, crop_margin=None)
    assert array[0][BRAIN].mean() == pytest.approx(0, abs=1e-4)
    assert array[0][BRAIN].std() == pytest.approx(1, abs=1e-4)
    assert array[0][~BRAIN].std() > 0, "what lies outside stays"


@pytest.mark.parametrize("how", ["minmax", "percentile"])
def test_ranges_are_those_in_the_mask(tmp_path: Path, how: str) -> None:
    array, _ = masked(tmp_path, crop_margin=None, normalise=how)
    assert array.min() == 0
    assert array.max() == 1
    assert array[0][BRAIN].min() == pytest.approx(0, abs=0.01)
    assert array[0][BRAIN].max() == pytest.approx(1, abs=0.01)


@pytest.mark.parametrize(
    ("mask", "words"),
    [
        (None, "has no brain mask"),
        (np.zeros_like(BRAIN), "is empty"),
        (BRAIN[1:], "has shape"),
    ],
)
def test_a_mask_that_is_needed_must_be_usable(tmp_path: Path, mask, words: str) -> None:
    with pytest.raises(DataError, match=words) as caught:
        masked(tmp_path, mask)
    assert {problem.kind for problem in caught.value.problems} == {"mask"}
    assert "store.foreground=head" in str(caught.value)


def test_a_mask_that_is_not_asked_for_changes_nothing(tmp_path: Path) -> None:
    path = save(tmp_path / "image.nii.gz", IMAGE)
    broken = tmp_path / "mask.nii.gz"
    broken.write_text("no mask")
    with_mask = prepare_images([path], PrepareSettings(), broken)
    without = prepare_images([path], PrepareSettings())
    np.testing.assert_array_equal(with_mask[0], without[0])
    assert with_mask[1] == without[1]


def test_the_crop_does_not_depend_on_the_last_bits_of_an_affine() -> None:
    inside = np.zeros((20, 20, 20), bool)
    inside[5:15, 5:15, 5:15] = True
    sizes = (2.0, 1.99999998, 2.00000002, 1.9999999)
    boxes = {str(crop_box(inside, np.diag([s, s, s, 1.0]), 4.0)) for s in sizes}
    assert boxes == {str([(3, 17)] * 3)}


@pytest.mark.parametrize("value", [1e6, -1e30])
def test_a_voxel_far_beyond_all_others_changes_neither_crop_nor_contrast(
    tmp_path: Path, value: float, caplog: pytest.LogCaptureFixture
) -> None:
    image = np.kron(IMAGE, np.ones((2, 2, 2))).astype(np.float32)  # enough voxels to tell few
    settings = PrepareSettings(crop_margin=1.0)
    straight, reference = prepare_images([save(tmp_path / "plain.nii.gz", image)], settings)
    assert "far beyond" not in caplog.text
    image[SHAPE] = value  # the middle
    array, geometry = prepare_images([save(tmp_path / "spiked.nii.gz", image)], settings)
    assert geometry == reference
    differing = np.abs(array - straight) > 0.05
    assert differing.sum() <= 1
    assert "has 1 voxel far beyond all others" in caplog.text


@pytest.mark.parametrize(("shift", "value"), [(0, -32768), (-1024, -3000), (100, 65535)])
def test_a_border_far_from_the_image_counts_as_its_darkest_or_brightest_value(
    tmp_path: Path, shift: float, value: float, caplog: pytest.LogCaptureFixture
) -> None:
    image = (IMAGE * (6 if value == -3000 else 1) + shift).astype(np.float32)  # bone at 1500
    limit = image.min() if value < 0 else image.max()
    settings = PrepareSettings(crop_margin=None)
    arrays = []
    for border in (limit, value):
        padded = np.pad(image, [(3, 2), (0, 4), (1, 1)], constant_values=np.float32(border))
        arrays.append(prepare_images([save(tmp_path / f"{border}.nii.gz", padded)], settings)[0])
        assert ("has a border of" in caplog.text) == (border == value)
    np.testing.assert_array_equal(*arrays)


@pytest.mark.parametrize("value", [0.0, -5.0])
@pytest.mark.parametrize("pads", [[(30, 4), (0, 50), (7, 7)], [(0, 20), (0, 20), (0, 20)]])
def test_air_around_the_image_changes_nothing(
    tmp_path: Path, value: float, pads: list[tuple[int, int]]
) -> None:
    padded = np.pad(IMAGE, pads, constant_values=value)
    affine = AFFINE.copy()
    affine[:3, 3] -= AFFINE[:3, :3] @ [low for low, _ in pads]
    path = save(tmp_path / "padded.nii.gz", padded, affine)
    for settings in ({}, {"normalise": "percentile"}, {"spacing": [1.5, 1.5, 1.5]}):
        alone, geometry = prepared(tmp_path, crop_margin=0.0, **settings)
        inside, other = prepare_images([path], PrepareSettings(crop_margin=0.0, **settings))
        np.testing.assert_allclose(inside, alone, atol=1e-5)
        np.testing.assert_allclose(other.prepared_affine, geometry.prepared_affine, atol=1e-5)


@pytest.mark.parametrize("how", ["zscore", "percentile", "minmax"])
def test_a_constant_box_in_air_is_finite(tmp_path: Path, how: str) -> None:
    image = np.zeros((12, 12, 12), np.float32)
    image[4:8, 3:9, 5:7] = 1
    path = save(tmp_path / "box.nii.gz", image)
    found, geometry = prepare_images([path], PrepareSettings(normalise=how, crop_margin=0.0))
    assert np.isfinite(found).all()
    assert geometry.crop == ((4, 8), (3, 9), (5, 7))
