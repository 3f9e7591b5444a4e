"""Intensity changes of whole batches: where and with what beside them they are computed."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from forked import CONTEXT
from small_cohort import SPATIAL, annotate_cohort, make_data, write_cohort
from waiting import on_an_accelerator

from neoseg.augment.intensity import IntensitySettings
from neoseg.augment.label_contrast import LabelContrastSettings
from neoseg.augment.settings import AugmentSettings
from neoseg.augment.torchio_transforms import TorchioTransform
from neoseg.patches import datamodule
from neoseg.patches.batch import Batch, collate
from neoseg.patches.datamodule import MixedDataModule
from neoseg.patches.dataset import PatchDataset, PatchSettings

PARTS = [name for name in IntensitySettings.model_fields if name.endswith("_probability")]
EVERYTHING = AugmentSettings(
    spatial=SPATIAL,
    label_contrast=LabelContrastSettings(probability=0.6),
    intensity=IntensitySettings(**dict.fromkeys(PARTS, 0.6)),
)
TORCHIO = (TorchioTransform(name="RandomMotion"), TorchioTransform(name="RandomNoise", p=0.5))
PATCHES = PatchSettings(size=(12, 11, 10), batch_size=4, steps_per_epoch=3, workers=0)
KEYS = [(step, item) for step in range(3) for item in range(4)]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> MixedDataModule:
    root = tmp_path_factory.mktemp("views")
    annotated = annotate_cohort(write_cohort(root), ["full", "partial", "partial", "full"])
    return make_data(annotated, root / "store", PATCHES, EVERYTHING)


def dataset(data: MixedDataModule, **changes: object) -> PatchDataset:
    augment = EVERYTHING.model_copy(update=changes)
    return PatchDataset(
        data.train, data.annotated.codebook, data.composition, PATCHES, augment, 3, True
    )


def batches(data: MixedDataModule, **changes: object) -> list[Batch]:
    patches = dataset(data, **changes)
    return [
        collate([patches[step, item] for item in range(4)]) for step in dict.fromkeys(dict(KEYS))
    ]


def assert_equal(first: list[Batch], second: list[Batch]) -> None:
    for one, other in zip(first, second, strict=True):
        for name in ("image", "codes", "stream", "scan", "teacher_image", "noise_seed"):
            assert torch.equal(getattr(one, name), getattr(other, name)), name
        assert one.appearances is other.appearances is None
        assert one.teacher_appearances is other.teacher_appearances is None


@pytest.mark.parametrize("teacher", ["same", None, IntensitySettings(noise_probability=1.0)])
def test_the_accelerator_gives_what_the_loader_gives(
    data: MixedDataModule, teacher: object
) -> None:
    here = batches(data, teacher=teacher)
    left = batches(data, teacher=teacher, device="accelerator")
    for batch, done in zip(left, here, strict=True):
        assert batch.appearances is not None
        assert len(batch.appearances) == 4
        assert not torch.equal(batch.image, done.image)  # the loader has only cut it
        assert batch.teacher_image is None
    assert_equal([data.on_after_batch_transfer(batch, 0) for batch in left], here)
    moved = left[0].to("cpu").to(torch.device("cpu"))
    assert_equal([moved.with_intensities()], here[:1])


def test_a_lit_batch_stays_as_it_is(data: MixedDataModule) -> None:
    batch = batches(data)[0]
    assert batch.with_intensities() is batch
    assert data.on_after_batch_transfer(batch, 0) is batch
    sample = next(iter(make_validation(data)))
    assert data.on_after_batch_transfer(sample, 0) is sample


def make_validation(data: MixedDataModule):
    data.val = data.train[:1]
    return data.val_dataloader()


@pytest.mark.parametrize("device", ["loader", "accelerator"])
def test_threads_do_not_change_a_bit(data: MixedDataModule, device: str) -> None:
    before, found = torch.get_num_threads(), []
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            found.append([batch.with_intensities() for batch in batches(data, device=device)])
            assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(before)
    assert_equal(found[0], found[1])
    assert_equal(found[0], found[2])


def test_what_else_is_in_the_batch_does_not_matter(data: MixedDataModule) -> None:
    patches = dataset(data, device="accelerator")
    items = [patches[key] for key in KEYS]
    together = collate(items).with_intensities()
    for number, item in enumerate(items):
        alone = item.with_intensities()
        assert torch.equal(together.image[number], alone.image[0])
        assert torch.equal(together.teacher_image[number], alone.teacher_image[0])  # type: ignore[index]


@pytest.mark.parametrize("part", [*PARTS, "label_contrast", "torchio"])
def test_each_part_changes_images_and_leaves_codes(data: MixedDataModule, part: str) -> None:
    plain = batches(data, label_contrast=None, intensity=None)
    off = dict.fromkeys(PARTS, 0.0)
    changes: dict[str, object] = {"label_contrast": None, "intensity": None}
    if part == "torchio":
        changes["torchio"] = TORCHIO[:1]
    elif part == "label_contrast":
        changes[part] = LabelContrastSettings(probability=1.0)
    else:
        changes["intensity"] = IntensitySettings(**{**off, part: 1.0})
    for one, other in zip(batches(data, **changes), plain, strict=True):
        assert torch.equal(one.codes, other.codes)
        assert all(not torch.equal(a, b) for a, b in zip(one.image, other.image, strict=True))
        assert not torch.equal(one.image, one.teacher_image)  # type: ignore[arg-type]
        assert torch.isfinite(one.image).all()


def test_a_probability_of_zero_switches_each_part_off(data: MixedDataModule) -> None:
    plain = batches(data, label_contrast=None, intensity=None)
    quiet = batches(
        data,
        label_contrast=LabelContrastSettings(probability=0.0),
        intensity=IntensitySettings(**dict.fromkeys(PARTS, 0.0)),
        torchio=(TorchioTransform(name="RandomNoise", p=0.0),),
    )
    assert_equal(plain, quiet)


def test_torchio_comes_out_the_same_in_any_order(data: MixedDataModule) -> None:
    forwards = {key: dataset(data, torchio=TORCHIO)[key] for key in KEYS}
    fresh = dataset(data, torchio=TORCHIO)
    for number, key in enumerate(reversed(KEYS)):
        torch.manual_seed(number)
        assert_equal([fresh[key]], [forwards[key]])
    seeds = {batch.image.numpy().tobytes() for batch in forwards.values()}
    assert len(seeds) == len(KEYS)


@pytest.mark.slow
def test_loader_processes_draw_the_same_views(
    data: MixedDataModule, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(datamodule, "light_spawn", lambda: CONTEXT)
    found = []
    for workers, device in ((0, "loader"), (1, "loader"), (1, "accelerator")):
        settings = PATCHES.model_copy(update={"workers": workers})
        torchio = TORCHIO if device == "loader" and workers else ()
        augment = EVERYTHING.model_copy(update={"device": device, "torchio": torchio})
        module = MixedDataModule(data.annotated, data.store, settings, augment, 3, True)
        module.setup()
        found.append([batch.with_intensities() for batch in module.train_dataloader()])
    assert_equal(found[0], found[2])
    here = dataset(data, torchio=TORCHIO)
    expected = [collate([here[step, item] for item in range(4)]) for step in range(3)]
    assert_equal(found[1], expected)


@pytest.mark.parametrize("groups", [None, ("TCV",)])
def test_contrast_knows_only_what_the_protocol_tells(
    tmp_path: Path, groups: tuple[str, ...] | None
) -> None:
    """Noise in place of the hidden labels gives the same images to the bit."""
    contrast = LabelContrastSettings(probability=1.0, groups=groups)
    augment = replace_contrast(contrast)
    streams = ["full", "partial", "partial", "partial"]
    found = []
    for name, scrambled in (("a", []), ("b", [1, 2, 3])):
        cohort = write_cohort(tmp_path / name, scrambled=scrambled)
        data = make_data(annotate_cohort(cohort, streams), tmp_path / name / "s", PATCHES, augment)
        found.append(list(data.train_dataloader()))
    for one, other in zip(*found, strict=True):
        assert torch.equal(one.image, other.image)
        assert torch.equal(one.codes, other.codes)


def replace_contrast(contrast: LabelContrastSettings) -> AugmentSettings:
    return AugmentSettings(spatial=SPATIAL, label_contrast=contrast)


def test_contrast_follows_the_codes_of_a_flipped_patch(data: MixedDataModule) -> None:
    flat = LabelContrastSettings(probability=1.0, noise=0.0, keep=0.0, partial_volume=0.0)
    spatial = SPATIAL.model_copy(update={"flip": 1.0, "probability": 0.0})
    for step, item in KEYS:
        patches = dataset(data, spatial=spatial, label_contrast=flat, intensity=None)
        batch = patches[step, item]
        for code in np.unique(batch.codes):
            if 2 <= code <= 5:  # a single leaf, not the background
                assert batch.image[0, 0][batch.codes[0] == code].std(correction=0) < 1e-4


def test_batches_without_views_can_be_joined(data: MixedDataModule) -> None:
    patches = dataset(data, device="accelerator")
    item = patches[0, 0]
    assert collate([item, item]).appearances == (*item.appearances, *item.appearances)  # type: ignore[misc]
    assert collate([replace(item, appearances=None)] * 2).appearances is None


def without_noise() -> dict[str, object]:
    """Settings with everything but noise, whose generators differ between kinds of devices."""
    intensity = IntensitySettings(**{**dict.fromkeys(PARTS, 1.0), "noise_probability": 0.0})
    contrast = LabelContrastSettings(probability=1.0, noise=0.0, invert=0.5)
    return {"label_contrast": contrast, "intensity": intensity, "device": "accelerator"}


def test_views_stay_on_the_device_of_the_batch(data: MixedDataModule) -> None:
    """A device without memory refuses what was left on the CPU, and what the CPU would wait for."""
    for batch in batches(data, device="accelerator"):
        with on_an_accelerator() as device:
            changed = batch.sent(device).with_intensities()
        assert changed.image.device.type == "meta"
        assert changed.image.shape == batch.image.shape
        assert changed.teacher_image is not None
        assert changed.teacher_image.device.type == "meta"


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_gpu_gives_what_the_cpu_gives(data: MixedDataModule) -> None:
    for batch in batches(data, **without_noise()):
        here, there = batch.with_intensities(), batch.to("cuda").with_intensities().to("cpu")
        scale = float(here.image.abs().max())
        for name in ("image", "teacher_image"):
            one, other = getattr(here, name), getattr(there, name)
            assert torch.allclose(one, other, rtol=0, atol=1e-5 * scale), name
