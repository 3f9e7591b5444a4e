from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
import torch
from scipy import ndimage
from torch import Tensor

from neoseg.augment import resample as module
from neoseg.augment.patch_map import PatchMap
from neoseg.augment.resample import resample
from neoseg.augment.resample_c import compiled
from neoseg.augment.warp import SpatialSettings, draw_geometry

RNG = np.random.default_rng(0)
SHAPE = (20, 22, 24)
IMAGE = torch.from_numpy(RNG.normal(size=(2, *SHAPE)).astype(np.float32))
CODES = torch.from_numpy(RNG.integers(1, 200, SHAPE).astype(np.uint8))
SPATIAL = SpatialSettings(rotation=40, elastic=2, elastic_grid=6, probability=1)
SIZE = (9, 10, 11)


@pytest.fixture(params=["C", "torch"])
def language(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """In which it is computed."""
    if request.param == "torch":
        in_torch(monkeypatch)
    elif compiled() is None:
        pytest.skip("no C compiler on this machine")


def in_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "compiled", lambda: None)


def mapped(seed: int, centre: Sequence[int] = (10, 11, 12)) -> PatchMap:
    geometry = draw_geometry(SPATIAL, np.random.default_rng(seed), SIZE, (1, 1, 1))
    return PatchMap.of(centre, SIZE, geometry.matrix, geometry.elastic)


def everything(place: PatchMap) -> list[np.ndarray]:
    """Scan coordinates of all voxels."""
    column, sheet = place.sheets()
    where = column[:, :, None, None] + sheet[:, None]
    for plane in range(SIZE[0]):
        bend = torch.empty(3, 1, *SIZE[1:])
        place.bend_planes(range(plane, plane + 1), bend)
        where[:, plane] += bend[:, 0]
    return list(where.numpy())


@pytest.mark.usefixtures("language")
@pytest.mark.parametrize("seed", range(4))
def test_values_are_those_of_scipy(seed: int) -> None:
    place = mapped(seed)
    where = everything(place)
    image, codes = resample(IMAGE, CODES, (0, 0, 0), SHAPE, place)
    for channel, original in zip(image.numpy(), IMAGE.numpy(), strict=True):
        expected = ndimage.map_coordinates(original, where, order=1, mode="nearest")
        np.testing.assert_allclose(channel, expected, atol=1e-4)
    near = [np.rint(axis).astype(int) for axis in where]
    inside = np.all([(n >= 0) & (n < m) for n, m in zip(near, SHAPE, strict=True)], axis=0)
    local = [np.clip(n, 0, m - 1) for n, m in zip(near, SHAPE, strict=True)]
    clear = np.abs(np.stack(where) - np.floor(where) - 0.5).min(axis=0) > 1e-3
    expected = np.where(inside, CODES.numpy()[tuple(local)], 0)
    assert codes is not None
    np.testing.assert_array_equal(codes.numpy()[clear], expected[clear])


@pytest.mark.parametrize("voxels", [1, 110, 250, 700, 10**6])
def test_slabs_do_not_show(voxels: int, monkeypatch: pytest.MonkeyPatch) -> None:
    in_torch(monkeypatch)
    whole = resample(IMAGE, CODES, (0, 0, 0), SHAPE, mapped(1, (1, 20, 12)))
    monkeypatch.setattr(module, "SLAB", voxels)
    parts = resample(IMAGE, CODES, (0, 0, 0), SHAPE, mapped(1, (1, 20, 12)))
    for one, other in zip(whole, parts, strict=True):
        assert torch.equal(one, other)  # type: ignore[arg-type]


def test_the_extremes_are_those_of_all_voxels() -> None:
    for seed in range(20):
        place = mapped(seed)
        where = everything(place)
        low, high = np.min(where, axis=(1, 2, 3)), np.max(where, axis=(1, 2, 3))
        assert (place.low <= low + 1e-4).all()
        assert (place.high >= high - 1e-4).all()
        # They are met, or hardly more is read than is needed.
        assert (place.low > low - 1).all()
        assert (place.high < high + 1).all()


@pytest.mark.usefixtures("language")
def test_threads_and_the_type_of_the_image_do_not_matter() -> None:
    before, found = torch.get_num_threads(), []
    half = IMAGE.half()
    try:
        for threads in (1, 2):
            torch.set_num_threads(threads)
            found.append(resample(half, CODES, (0, 0, 0), SHAPE, mapped(2)))
    finally:
        torch.set_num_threads(before)
    found.append(resample(half.float(), CODES, (0, 0, 0), SHAPE, mapped(2)))
    for image, codes in found[1:]:
        assert torch.equal(image, found[0][0])
        assert torch.equal(codes, found[0][1])  # type: ignore[arg-type]


@pytest.mark.usefixtures("language")
@pytest.mark.parametrize("shape", [(1, 22, 24), (20, 1, 24), (20, 22, 1), (1, 1, 1)])
def test_a_scan_may_be_one_voxel_thin(shape: tuple[int, int, int]) -> None:
    image = torch.rand(1, *shape) + 1
    found, codes = resample(image, None, (0, 0, 0), shape, mapped(3))
    assert codes is None
    assert found.min() >= image.min() - 1e-5
    assert found.max() <= image.max() + 1e-5


def equal(one: tuple[Tensor, Tensor | None], other: tuple[Tensor, Tensor | None]) -> bool:
    """Whether images and codes are the same to the bit, NaN included."""
    return all(
        a is b or torch.equal(a.nan_to_num(99.0), b.nan_to_num(99.0))  # type: ignore[union-attr]
        for a, b in zip(one, other, strict=True)
    )


@pytest.mark.skipif(compiled() is None, reason="no C compiler on this machine")
@pytest.mark.skipif(
    torch.backends.cpu.get_cpu_capability() not in ("AVX2", "AVX512"),
    reason="without fused multiplication and addition the last bit may differ",
)
class TestBits:
    """C and torch give the same bits."""

    def check(
        self, image: Tensor, codes: Tensor | None, place: PatchMap, patch: pytest.MonkeyPatch
    ) -> None:
        shape = image.shape[1], image.shape[2], image.shape[3]
        found = resample(image, codes, (0, 0, 0), shape, place)
        in_torch(patch)
        assert equal(found, resample(image, codes, (0, 0, 0), shape, place))

    @pytest.mark.parametrize("dtype", [torch.float16, torch.float32])
    @pytest.mark.parametrize("centre", [(10, 11, 12), (1, 20, 12), (19, 0, 40)])
    @pytest.mark.parametrize("elastic", [0.0, 2.0])
    def test_inside_and_outside(
        self,
        dtype: torch.dtype,
        centre: tuple[int, int, int],
        elastic: float,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        settings = SPATIAL.model_copy(update={"elastic": elastic})
        for seed in range(5):
            geometry = draw_geometry(settings, np.random.default_rng(seed), SIZE, (1, 1, 1))
            place = PatchMap.of(centre, SIZE, geometry.matrix, geometry.elastic)
            with monkeypatch.context() as patch:
                self.check(IMAGE.to(dtype), CODES, place, patch)

    @pytest.mark.parametrize("size", [(1, 70, 64), (70, 1, 3), (5, 66, 1), (33, 34, 35)])
    def test_slices_and_rows_of_any_length(
        self, size: tuple[int, int, int], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        geometry = draw_geometry(SPATIAL, np.random.default_rng(7), size, (1, 1, 1))
        place = PatchMap.of((10, 11, 12), size, geometry.matrix, geometry.elastic)
        self.check(IMAGE.half(), CODES, place, monkeypatch)

    @pytest.mark.parametrize("shape", [(1, 22, 24), (20, 1, 24), (20, 22, 1), (1, 1, 1)])
    def test_a_scan_one_voxel_thin(
        self, shape: tuple[int, int, int], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        image, codes = torch.rand(2, *shape).half(), torch.full(shape, 7, dtype=torch.uint8)
        self.check(image, codes, mapped(3), monkeypatch)

    def test_every_half(self, monkeypatch: pytest.MonkeyPatch) -> None:
        every = torch.arange(-(2**15), 2**15, dtype=torch.int16).view(torch.float16)
        place = PatchMap.of((16, 16, 32), (32, 32, 64), np.eye(3), None)
        self.check(every.view(1, 32, 32, 64), None, place, monkeypatch)


@pytest.mark.usefixtures("language")
def test_a_block_is_the_scan_shifted() -> None:
    place = mapped(1)
    low = np.floor(place.low).astype(int).clip(0).tolist()
    block = tuple(slice(start, None) for start in low)
    part = resample(IMAGE[(slice(None), *block)], CODES[block], low, SHAPE, place)
    assert max(low) > 0
    whole = resample(IMAGE, CODES, (0, 0, 0), SHAPE, place)
    torch.testing.assert_close(part[0], whole[0], atol=1e-4, rtol=0)
    assert torch.equal(part[1], whole[1])  # type: ignore[arg-type]


def test_names_of_what_a_geometry_does() -> None:
    parts = [
        draw_geometry(settings, np.random.default_rng(0), SIZE, (1, 1, 1)).parts
        for settings in (
            None,
            SPATIAL.model_copy(update={"flip": 0.0}),
            SPATIAL.model_copy(update={"flip": 1.0, "probability": 0.0}),
            SPATIAL.model_copy(update={"flip": 1.0, "elastic": 0.0}),
        )
    ]
    assert parts == [(), ("affine", "elastic"), ("flip",), ("affine", "flip")]
