from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from small_cohort import AUGMENT, SPATIAL, annotate_cohort, make_data, write_cohort

from neoseg.augment.intensity import IntensitySettings
from neoseg.augment.settings import AugmentSettings
from neoseg.patches.batch import Batch, collate
from neoseg.patches.datamodule import MixedDataModule
from neoseg.patches.dataset import PatchDataset, PatchSettings, StepSampler
from neoseg.patches.volumes import VolumeDataset

SETTINGS = PatchSettings(size=(8, 9, 10), batch_size=4, steps_per_epoch=3, workers=0)
SLICES = {"name": "partial", "slices": {"plane": "coronal", "share": 0.3, "spacing": "random"}}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> MixedDataModule:
    root = tmp_path_factory.mktemp("patches")
    cohort = write_cohort(root, 4, unlabelled=[3])
    streams = ["full", "partial", "partial", "unlabelled"]
    return make_data(annotate_cohort(cohort, streams), root / "store", SETTINGS)


def dataset(data: MixedDataModule, **changes: object) -> PatchDataset:
    arguments = {
        "scans": data.train,
        "codebook": data.annotated.codebook,
        "composition": data.composition,
        "patches": SETTINGS,
        "augment": AUGMENT,
        "seed": 3,
        "with_teacher": False,
    }
    return PatchDataset(**(arguments | changes))  # type: ignore[arg-type]


def keys(steps: int = 6) -> list[tuple[int, int]]:
    return [(step, item) for step in range(steps) for item in range(4)]


def assert_equal(first: Batch, second: Batch) -> None:
    for name in ("image", "codes", "stream", "scan"):
        assert torch.equal(getattr(first, name), getattr(second, name)), name


def test_an_item_is_a_batch_of_one_patch(data: MixedDataModule) -> None:
    for key in keys():
        batch = dataset(data)[key]
        assert len(batch) == 1
        assert batch.image.shape == (1, 1, 8, 9, 10)
        assert batch.codes.shape == (1, 8, 9, 10)
        assert (batch.image.dtype, batch.codes.dtype) == (torch.float32, torch.uint8)
        assert (batch.stream.dtype, batch.scan.dtype) == (torch.uint8, torch.int64)
        assert batch.teacher_image is None
        assert torch.isfinite(batch.image).all()
        assert data.train[int(batch.scan)].stream == int(batch.stream)


def test_a_patch_is_a_function_of_seed_step_and_item(data: MixedDataModule) -> None:
    forwards = {key: dataset(data)[key] for key in keys()}
    fresh = dataset(data)
    for key in reversed(keys()):
        assert_equal(fresh[key], forwards[key])
    other = dataset(data, seed=4)
    assert not any(torch.equal(other[key].image, forwards[key].image) for key in keys())
    distinct = {batch.image.numpy().tobytes() for batch in forwards.values()}
    assert len(distinct) == len(forwards)


def test_a_patch_shows_only_what_its_stream_tells(data: MixedDataModule) -> None:
    codebook = data.annotated.codebook
    space = codebook.space
    merged = codebook.code(space.label_set("TCV"))
    clear = {codebook.code(frozenset([k])) for k in (0, 1)}
    seen: dict[int, set[int]] = {0: set(), 1: set(), 2: set()}
    for key in keys(12):
        batch = dataset(data)[key]
        seen[int(batch.stream)] |= set(batch.codes.unique().tolist())
    assert seen[2] == {0}
    assert seen[1] == {0, merged, *clear}
    assert seen[0] == {0, *range(1, 6)}


def test_a_flipped_patch_has_its_left_and_right_swapped(data: MixedDataModule) -> None:
    def cut(flip: float) -> PatchDataset:
        quiet = AugmentSettings(spatial=SPATIAL.model_copy(update={"probability": 0, "flip": flip}))
        return dataset(data, augment=quiet)

    mirror = torch.from_numpy(data.annotated.codebook.mirror)
    swapped = False
    for key in keys(12):
        plain, flipped = cut(0.0)[key], cut(1.0)[key]
        assert torch.equal(flipped.image, plain.image.flip(2))
        assert torch.equal(flipped.codes, mirror[plain.codes.long()].flip(1))
        swapped |= not torch.equal(flipped.codes, plain.codes.flip(1))
    assert swapped


def test_the_strong_view_is_for_what_is_not_fully_labelled(data: MixedDataModule) -> None:
    strong = IntensitySettings(noise=5.0, noise_probability=1.0)
    plain, other = (
        dataset(data),
        dataset(data, augment=AUGMENT.model_copy(update={"strong": strong})),
    )
    streams = set()
    for key in keys():
        weak, seen = plain[key], other[key]
        streams.add(int(weak.stream))
        assert torch.equal(seen.codes, weak.codes)
        assert torch.equal(seen.image, weak.image) == (int(weak.stream) == 0)
    assert streams == {0, 1, 2}


def test_the_teacher_sees_the_same_geometry_in_another_light(data: MixedDataModule) -> None:
    alone, both = dataset(data), dataset(data, with_teacher=True)
    for key in keys():
        assert_equal(alone[key], both[key])
        teacher = both[key].teacher_image
        assert teacher is not None
        assert teacher.shape == both[key].image.shape
        assert not torch.equal(teacher, both[key].image)
    # Without intensity changes both views are the patch itself.
    bare = dataset(data, with_teacher=True, augment=AugmentSettings(spatial=SPATIAL))
    for key in keys():
        assert torch.equal(bare[key].teacher_image, bare[key].image)
        assert torch.equal(bare[key].codes, both[key].codes)


def test_the_teacher_can_have_a_light_of_its_own(data: MixedDataModule) -> None:
    """A weak view beside a strong one: the student's stays as it is."""
    same = dataset(data, with_teacher=True)
    plain = dataset(data, with_teacher=True, augment=AugmentSettings(spatial=SPATIAL))
    none = dataset(data, with_teacher=True, augment=AUGMENT.model_copy(update={"teacher": None}))
    weak = IntensitySettings(noise=0.01, noise_probability=1.0)
    other = dataset(data, with_teacher=True, augment=AUGMENT.model_copy(update={"teacher": weak}))
    for key in keys():
        assert torch.equal(none[key].teacher_image, plain[key].image)
        for changed in (none, other):
            assert_equal(same[key], changed[key])
        assert not torch.equal(other[key].teacher_image, same[key].teacher_image)
        assert not torch.equal(other[key].teacher_image, none[key].teacher_image)


def test_the_noise_of_a_teacher_is_a_function_of_seed_step_and_item(
    data: MixedDataModule,
) -> None:
    both = dataset(data, with_teacher=True)
    seeds = [int(both[key].noise_seed) for key in keys()]
    assert len(set(seeds)) == len(seeds)
    assert min(seeds) >= 0
    fresh = dataset(data, with_teacher=True)
    assert [int(fresh[key].noise_seed) for key in keys()] == seeds
    assert int(dataset(data, with_teacher=True, seed=4)[0, 0].noise_seed) not in seeds
    assert dataset(data)[0, 0].noise_seed is None


def test_switching_intensity_off_leaves_scan_centre_and_geometry(data: MixedDataModule) -> None:
    bare = dataset(data, augment=AugmentSettings(spatial=SPATIAL))
    for key in keys():
        assert torch.equal(bare[key].codes, dataset(data)[key].codes)
        assert torch.equal(bare[key].scan, dataset(data)[key].scan)


def test_sagittal_slices_are_patches(data: MixedDataModule) -> None:
    settings = SETTINGS.model_copy(update={"size": (1, 24, 18)})
    for key in keys():
        batch = dataset(data, patches=settings)[key]
        assert batch.image.shape == (1, 1, 1, 24, 18)
        assert batch.codes.shape == (1, 1, 24, 18)


def test_no_two_random_streams_are_the_same() -> None:
    from neoseg.patches import dataset as patches

    names = ("GEOMETRY", "STUDENT", "TEACHER", "NOISE", "MODALITY")
    seeds = [[3, 1, 2, getattr(patches, name)] for name in names]
    torchio = [[*seed, patches.TORCHIO] for seed in seeds[1:3]]
    rngs = [np.random.default_rng(seed) for seed in (*seeds, *torchio, [3, 1, 2])]  # scan order
    rngs += [child for rng in rngs[1:3] for child in rng.spawn(2)]
    assert len({rng.integers(2**62) for rng in rngs}) == len(rngs) == 12


def test_batches_are_joined_in_order_and_keep_their_teacher(data: MixedDataModule) -> None:
    both = dataset(data, with_teacher=True)
    items = [both[0, item] for item in range(4)]
    batch = collate(items)
    assert len(batch) == 4
    for number, item in enumerate(items):
        assert torch.equal(batch.image[number], item.image[0])
        assert torch.equal(batch.teacher_image[number], item.teacher_image[0])  # type: ignore[index]
        assert torch.equal(batch.noise_seed[number], item.noise_seed[0])  # type: ignore[index]
    assert collate([replace(item, teacher_image=None) for item in items]).teacher_image is None


def test_a_batch_moves_whole(data: MixedDataModule) -> None:
    batch = dataset(data, with_teacher=True)[0, 0].to("meta")
    for name in ("image", "codes", "stream", "scan", "teacher_image"):
        assert getattr(batch, name).device.type == "meta"
    assert batch.noise_seed is not None
    assert batch.noise_seed.device.type == "cpu"  # the host asks for it
    assert dataset(data)[0, 0].to("meta").teacher_image is None


@pytest.mark.parametrize("done", [0, 1, 2, 3, 5, 7, 300])
@pytest.mark.parametrize("ranks", [1, 2, 4])
def test_an_epoch_goes_on_where_training_stands(done: int, ranks: int) -> None:
    shares = [list(StepSampler(3, 4, rank, ranks, lambda: done)) for rank in range(ranks)]
    last = (done // 3 + 1) * 3
    for share in shares:
        assert [batch[0][0] for batch in share] == list(range(done, last))
    for place in range(last - done):
        together = [key for share in shares for key in share[place]]
        assert together == [(done + place, item) for item in range(4)]


def test_the_sampler_asks_anew_at_every_epoch() -> None:
    done = [0]
    sampler = StepSampler(2, 1, 0, 1, lambda: done[0])
    steps = []
    for _ in range(3):
        for batch in sampler:
            steps.append(batch[0][0])
        done[0] = len(steps)
    assert steps == list(range(6))
    assert len(sampler) == 2


def test_a_batch_that_devices_cannot_share_is_refused() -> None:
    with pytest.raises(ValueError, match=r"batch_size is 4, which 3 devices .* multiple of 3"):
        StepSampler(3, 4, 0, 3, lambda: 0)


def test_whole_scans_carry_what_their_annotation_tells(data: MixedDataModule) -> None:
    volumes = VolumeDataset(data.train)
    assert len(volumes) == 4
    for number in range(4):
        sample, scan = volumes[number], data.train[number]
        assert sample.number == number
        assert sample.image.shape == (1, *scan.entry.shape)
        assert sample.image.dtype == torch.float32
        codes = np.zeros(scan.entry.shape, np.uint8)
        if scan.entry.annotated:
            codes = scan.visible.lookup[np.asarray(scan.entry.codes[:])]
        np.testing.assert_array_equal(sample.codes, codes)
        moved = sample.to("meta")
        assert (moved.image.device.type, moved.codes.device.type) == ("meta", "meta")


def test_slices_that_are_not_annotated_are_unknown_everywhere(tmp_path: Path) -> None:
    cohort = write_cohort(tmp_path, 2)
    annotated = annotate_cohort(cohort, ["full", "partial"], protocol=SLICES)
    data = make_data(annotated, tmp_path / "store", SETTINGS)
    shown = data.train[1].visible.slices
    assert shown is not None
    codes = VolumeDataset(data.train)[1].codes.numpy()
    assert not codes[:, ~shown].any()
    assert codes[:, shown].all()
    quiet = dataset(data, augment=AugmentSettings(), composition=data.composition)
    patches = [quiet[key] for key in keys(10)]
    partial = [p.codes[0] for p in patches if int(p.stream) == 1]
    assert any(bool((c == 0).any()) and bool((c > 0).any()) for c in partial)
    for patch in partial:
        # A coronal slice is annotated whole or not at all.
        known = (patch > 0).permute(1, 0, 2).flatten(1)
        assert (known.any(1) == known.all(1)).all()
