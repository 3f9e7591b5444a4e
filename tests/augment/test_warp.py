from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy import ndimage

from neoseg.augment.warp import Geometry3D, SpatialSettings, cut_patch, draw_geometry
from neoseg.labels import LabelSpace

SHAPE = (13, 15, 17)
RNG = np.random.default_rng(0)
IMAGE = RNG.normal(size=(2, *SHAPE)).astype(np.float32)
CODES = RNG.integers(0, 5, SHAPE).astype(np.uint8)
LOOKUP = np.arange(256, dtype=np.uint8) + np.uint8(1)  # so that 0 says "outside" alone
IDENTITY = Geometry3D(np.eye(3), None, False)
FLIP = Geometry3D(np.diag([-1.0, 1, 1]), None, True)


class Prepared:
    """What `cut_patch` reads of a store entry."""

    def __init__(self, image: np.ndarray, codes: np.ndarray | None) -> None:
        self.image: Any = image
        self.codes = codes
        self.shape = image.shape[1:]
        self.annotated = codes is not None

    def read_image(self, block: tuple[slice, ...]) -> np.ndarray:
        return self.image[(slice(None), *block)]

    def read_codes(self, block: tuple[slice, ...]) -> np.ndarray:
        assert self.codes is not None
        return self.codes[block]


def scan(image: np.ndarray = IMAGE, codes: np.ndarray | None = CODES) -> Any:
    return Prepared(image, codes)


def box(centre: tuple[int, ...], size: tuple[int, ...]) -> tuple[slice, ...]:
    return tuple(slice(c - n // 2, c - n // 2 + n) for c, n in zip(centre, size, strict=True))


def spatial(**settings: float) -> SpatialSettings:
    off = {"rotation": 0, "scaling": 0, "stretching": 0, "elastic": 0, "flip": 0, "probability": 1}
    return SpatialSettings(**{**off, **settings})


SIZES = [(4, 6, 8), (5, 5, 5), (1, 7, 8), (6, 1, 5), (4, 5, 1)]


@pytest.mark.parametrize("size", SIZES)
def test_the_identity_is_plain_slicing(size: tuple[int, int, int]) -> None:
    centre = (6, 7, 8)
    image, codes = cut_patch(scan(), centre, size, IDENTITY, LOOKUP)
    np.testing.assert_array_equal(image, IMAGE[(slice(None), *box(centre, size))])
    np.testing.assert_array_equal(codes, CODES[box(centre, size)] + 1)
    assert image.dtype == np.float32
    assert codes.dtype == np.uint8


@pytest.mark.parametrize("size", SIZES)
def test_a_pure_flip_shows_the_same_voxels_mirrored(size: tuple[int, int, int]) -> None:
    image, codes = cut_patch(scan(), (6, 7, 8), size, IDENTITY, LOOKUP)
    mirrored, mirrored_codes = cut_patch(scan(), (6, 7, 8), size, FLIP, LOOKUP)
    np.testing.assert_array_equal(mirrored, np.flip(image, 1))
    np.testing.assert_array_equal(mirrored_codes, np.flip(codes, 0))


@pytest.mark.parametrize("plane", [(1, 2), (2, 0), (0, 1)])
@pytest.mark.parametrize("size", [(6, 6, 6), (7, 7, 7)])
def test_a_quarter_turn_is_rot90(plane: tuple[int, int], size) -> None:
    a, b = plane
    # The cosine is not quite 0, as in a drawn rotation; NumPy turns the first axis to the second.
    matrix = np.eye(3)
    matrix[a, a] = matrix[b, b] = np.cos(np.pi / 2)
    matrix[a, b], matrix[b, a] = 1.0, -1.0
    image, codes = cut_patch(scan(), (6, 7, 8), size, IDENTITY, LOOKUP)
    turned = cut_patch(scan(), (6, 7, 8), size, Geometry3D(matrix, None, False), LOOKUP)
    np.testing.assert_array_equal(turned[1], np.rot90(codes, 1, plane))
    np.testing.assert_allclose(turned[0], np.rot90(image, 1, [a + 1, b + 1]), atol=1e-4)


@pytest.mark.parametrize("codes", [CODES, None])
def test_outside_the_scan_is_border_and_unknown(codes: np.ndarray | None) -> None:
    size, centre = (8, 8, 8), (1, 7, 16)
    image, found = cut_patch(scan(codes=codes), centre, size, IDENTITY, LOOKUP)
    wide = np.pad(IMAGE, [(0, 0), (8, 8), (8, 8), (8, 8)], mode="edge")
    shifted = tuple(c + 8 for c in centre)
    np.testing.assert_array_equal(image, wide[(slice(None), *box(shifted, size))])
    if codes is None:
        assert not found.any()
    else:
        known = np.pad(CODES + 1, 8)
        np.testing.assert_array_equal(found, known[box(shifted, size)])


def test_a_warped_patch_outside_the_scan_is_border_and_unknown() -> None:
    turn = draw_geometry(spatial(rotation=40), np.random.default_rng(3), (8, 8, 8), (1, 1, 1))
    image, codes = cut_patch(scan(), (60, 7, 8), (8, 8, 8), turn, LOOKUP)
    assert not codes.any()
    assert np.isfinite(image).all()
    # Far to the right of the scan all that is left is its last sagittal slice.
    assert image.max() <= IMAGE[:, -1].max() + 1e-5
    assert image.min() >= IMAGE[:, -1].min() - 1e-5


def test_unannotated_slices_are_unknown() -> None:
    shown = np.zeros(SHAPE[2], bool)
    shown[[3, 8, 9]] = True
    _, all_codes = cut_patch(scan(), (6, 7, 8), (5, 5, 9), IDENTITY, LOOKUP)
    _, codes = cut_patch(scan(), (6, 7, 8), (5, 5, 9), IDENTITY, LOOKUP, shown, 2)
    kept = shown[4:13]
    np.testing.assert_array_equal(codes[..., kept], all_codes[..., kept])
    assert not codes[..., ~kept].any()


@pytest.mark.parametrize("seed", range(5))
def test_image_and_codes_of_a_warp_agree_with_scipy(seed: int) -> None:
    size, centre = (8, 9, 10), (6, 7, 8)
    settings = spatial(rotation=60, scaling=0.3, stretching=0.1, flip=0.5)
    geometry = draw_geometry(settings, np.random.default_rng(seed), size, (0.5, 1.0, 2.0))
    offsets = np.stack(
        np.meshgrid(*[np.arange(n) - (n - 1) / 2 for n in size], indexing="ij"), 0
    ).reshape(3, -1)
    middle = [c - n // 2 + (n - 1) / 2 for c, n in zip(centre, size, strict=True)]
    where = (geometry.matrix @ offsets + np.array(middle)[:, None]).reshape(3, *size)
    image, codes = cut_patch(scan(), centre, size, geometry, LOOKUP)
    for channel, original in zip(image, IMAGE, strict=True):
        expected = ndimage.map_coordinates(original, where, order=1, mode="nearest")
        np.testing.assert_allclose(channel, expected, atol=1e-4)
    rounded = np.rint(where).astype(int)
    inside = np.all([(r >= 0) & (r < n) for r, n in zip(rounded, SHAPE, strict=True)], axis=0)
    clipped = [np.clip(r, 0, n - 1) for r, n in zip(rounded, SHAPE, strict=True)]
    expected = np.where(inside, CODES[tuple(clipped)] + 1, 0)
    clear = np.abs(where - np.floor(where) - 0.5).min(axis=0) > 1e-3
    np.testing.assert_array_equal(codes[clear], expected[clear])


@pytest.mark.parametrize("seed", range(5))
def test_codes_are_never_mixed(seed: int) -> None:
    settings = SpatialSettings(rotation=90, elastic=3, elastic_grid=6, probability=1)
    sparse = np.where(CODES > 2, 200, 10).astype(np.uint8)
    lookup = np.zeros(256, np.uint8)
    lookup[[10, 200]] = (3, 17)
    rng = np.random.default_rng(seed)
    geometry = draw_geometry(settings, rng, (9, 9, 9), (1, 1, 1))
    _, codes = cut_patch(scan(codes=sparse), (6, 7, 8), (9, 9, 9), geometry, lookup)
    assert set(np.unique(codes)) <= {0, 3, 17}
    assert {3, 17} <= set(np.unique(codes))


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_a_thin_patch_stays_in_its_plane(axis: int) -> None:
    size = tuple(1 if a == axis else 9 for a in range(3))
    # The image tells the coordinate across the plane.
    ramp = np.broadcast_to(
        np.arange(SHAPE[axis], dtype=np.float32).reshape(
            [-1 if a == axis else 1 for a in range(3)]
        ),
        SHAPE,
    )
    settings = SpatialSettings(rotation=180, elastic=3, elastic_grid=4, probability=1)
    moved = False
    for seed in range(5):
        geometry = draw_geometry(settings, np.random.default_rng(seed), size, (1, 1, 1))  # type: ignore[arg-type]
        image, _ = cut_patch(scan(ramp[None].copy()), (6, 7, 8), size, geometry, LOOKUP)  # type: ignore[arg-type]
        np.testing.assert_allclose(image, (6, 7, 8)[axis], atol=1e-4)
        moved |= not geometry.is_identity
    assert moved


def test_a_flat_patch_is_turned_and_bent_within_its_slices() -> None:
    settings = SpatialSettings(rotation=30, elastic=3, elastic_grid=4, probability=1)
    for size, stays in (((9, 9, 2), True), ((9, 9, 3), False)):
        geometry = draw_geometry(settings, np.random.default_rng(0), size, (1, 1, 5))
        assert geometry.elastic is not None
        assert (not geometry.elastic[2].any()) is stays
        assert (not geometry.matrix[2, :2].any()) is stays
        assert geometry.elastic[:2].any()
        assert geometry.matrix[0, 1] != 0


def test_rotation_does_not_shear_anisotropic_voxels() -> None:
    spacing = np.array([0.5, 1.0, 2.0])
    geometry = draw_geometry(
        spatial(rotation=90), np.random.default_rng(1), (9, 9, 9), spacing.tolist()
    )
    in_mm = np.diag(spacing) @ geometry.matrix @ np.diag(1 / spacing)
    np.testing.assert_allclose(in_mm @ in_mm.T, np.eye(3), atol=1e-12)
    assert np.linalg.det(in_mm) == pytest.approx(1)
    assert not np.allclose(in_mm, np.eye(3), atol=0.05)


def test_scales_stay_in_their_range() -> None:
    for seed in range(30):
        settings = spatial(scaling=0.2, stretching=0.1)
        geometry = draw_geometry(settings, np.random.default_rng(seed), (9, 9, 9), (1, 2, 3))
        sizes = np.diag(geometry.matrix)
        assert np.count_nonzero(geometry.matrix) == 3
        assert (sizes >= 0.8 * 0.9 - 1e-9).all()
        assert (sizes <= 1.2 * 1.1 + 1e-9).all()


@pytest.mark.parametrize("spacing", [(1.0, 1.0, 1.0), (0.5, 1.0, 2.0)])
def test_elastic_displacement_has_the_stated_size_in_millimetres(spacing) -> None:
    x, y, z = np.meshgrid(*[np.arange(n, dtype=np.float32) for n in (200, 200, 200)], indexing="ij")
    coordinates = np.stack([x, y, z])
    entry = scan(coordinates, None)
    size = (40, 40, 40)
    plain, _ = cut_patch(entry, (100, 100, 100), size, IDENTITY, LOOKUP)
    moved = []
    for seed in range(4):
        settings = spatial(elastic=2.0, elastic_grid=8.0)
        geometry = draw_geometry(settings, np.random.default_rng(seed), size, spacing)
        image, _ = cut_patch(entry, (100, 100, 100), size, geometry, LOOKUP)
        moved.append((image - plain) * np.array(spacing)[:, None, None, None])
    # Linear interpolation between control points averages some of the deviation away.
    assert 0.7 < np.std(moved) < 2.0
    steps = np.abs(np.diff(np.stack(moved), axis=2))
    assert steps.max() < 3.0 * max(spacing)


def test_settings_none_or_probability_zero_change_nothing() -> None:
    rng = np.random.default_rng(0)
    assert draw_geometry(None, rng, (8, 8, 8), (1, 1, 1)).is_identity
    quiet = SpatialSettings(probability=0, flip=0)
    for seed in range(10):
        geometry = draw_geometry(quiet, np.random.default_rng(seed), (8, 8, 8), (1, 1, 1))
        assert geometry.is_identity
        assert not geometry.flipped


def test_flips_come_as_often_as_asked() -> None:
    flips = [
        draw_geometry(spatial(flip=0.3), np.random.default_rng(s), (4, 4, 4), (1, 1, 1)).flipped
        for s in range(500)
    ]
    assert 0.22 < np.mean(flips) < 0.38


def test_same_seed_same_bits() -> None:
    settings = SpatialSettings(probability=1)
    cuts = []
    for _ in range(2):
        geometry = draw_geometry(settings, np.random.default_rng(11), (8, 8, 8), (1, 1, 1))
        cuts.append(cut_patch(scan(), (6, 7, 8), (8, 8, 8), geometry, LOOKUP))
    np.testing.assert_array_equal(cuts[0][0], cuts[1][0])
    np.testing.assert_array_equal(cuts[0][1], cuts[1][1])


def test_only_the_block_that_the_patch_reaches_is_read() -> None:
    read: list[tuple[slice, ...]] = []

    class Watched:
        def __getitem__(self, key: tuple[slice, ...]) -> np.ndarray:
            read.append(key)
            return IMAGE[key]

    entry = scan(codes=None)
    entry.image = Watched()
    cut_patch(entry, (6, 7, 8), (4, 4, 4), IDENTITY, LOOKUP)
    assert len(read) == 1
    assert all(part.stop - part.start <= 5 for part in read[0][1:])


def test_a_sagittal_slice_is_not_mirrored_across_itself() -> None:
    settings = spatial(flip=1, rotation=20)
    for seed in range(20):
        draws = [
            draw_geometry(settings, np.random.default_rng(seed), size, (1, 1, 1))
            for size in ((1, 8, 8), (2, 8, 8))
        ]
        assert [draw.flipped for draw in draws] == [False, True]
        assert np.linalg.det(draws[0].matrix) > 0
        assert np.linalg.det(draws[1].matrix) < 0


def test_a_flip_swaps_left_and_right_on_the_87_structures(drawem87: LabelSpace) -> None:
    names = {leaf.name: position for position, leaf in enumerate(drawem87.leaves)}
    for name, position in names.items():
        other = drawem87.leaves[drawem87.mirror[position]].name
        if name.endswith("left"):
            assert other == name.removesuffix("left") + "right"
        elif name.endswith("right"):
            assert other == name.removesuffix("right") + "left"
        else:
            assert other == name
