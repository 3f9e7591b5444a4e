from __future__ import annotations

import pickle
import shutil
import subprocess
import sys
from dataclasses import replace
from itertools import islice
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import torch
from forked import CONTEXT
from lightning.pytorch.plugins.environments import (
    LightningEnvironment,
    SLURMEnvironment,
    TorchElasticEnvironment,
)
from small_cohort import annotate_cohort, make_data, write_cohort

from neoseg.cohort import Problem
from neoseg.patches import datamodule
from neoseg.patches.batch import Batch
from neoseg.patches.datamodule import MixedDataModule
from neoseg.patches.dataset import PatchSettings
from neoseg.store.damage import DataError

STREAMS = ["full", "partial", "partial", "partial"]


def settings(**changes: object) -> PatchSettings:
    values = {"size": (8, 8, 8), "batch_size": 4, "steps_per_epoch": 3, "workers": 0}
    return PatchSettings(**(values | changes))  # type: ignore[arg-type]


def trainer(rank: int = 0, ranks: int = 1, done: int = 0) -> Any:
    """As much of a Trainer as the data module looks at."""
    progress = SimpleNamespace(total=SimpleNamespace(ready=done))
    return SimpleNamespace(
        global_rank=rank,
        world_size=ranks,
        strategy=SimpleNamespace(root_device=torch.device("cpu")),
        fit_loop=SimpleNamespace(epoch_loop=SimpleNamespace(batch_progress=progress)),
    )


def batches(data: MixedDataModule, at: Any = None) -> list[Batch]:
    data.trainer = at
    return list(data.train_dataloader())


def assert_equal(first: list[Batch], second: list[Batch]) -> None:
    assert len(first) == len(second)
    for one, other in zip(first, second, strict=True):
        for name in ("image", "codes", "stream", "scan"):
            assert torch.equal(getattr(one, name), getattr(other, name)), name


def test_a_guessed_meaning_is_told_with_its_voxels(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    guess = Problem("/data", "has no table", kind="guessed-meaning", severity="warning")
    cohort = replace(write_cohort(tmp_path / "files", 2), problems=(guess,))
    data = make_data(annotate_cohort(cohort, ["full", "full"]), tmp_path / "store")
    files = [np.asarray(nib.load(scan.label).dataobj) for scan in cohort.scans]
    number = sum(int((file == 20).sum()) for file in files)
    assert f"20 -> WM ({number} voxels)" in caplog.text
    assert len(data.train) == 2
    assert "neoseg.prepare" not in caplog.text


def test_warnings_about_files_are_counted(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    cohort = write_cohort(tmp_path / "files", 2)
    image = nib.load(cohort.scans[1].label)
    image.header.set_xyzt_units("meter")
    nib.save(image, cohort.scans[1].label)
    make_data(annotate_cohort(cohort, ["full", "full"]), tmp_path / "store")
    assert "voxel sizes contradict each other (1); python -m neoseg.prepare" in caplog.text


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> MixedDataModule:
    root = tmp_path_factory.mktemp("data")
    return make_data(annotate_cohort(write_cohort(root), STREAMS), root / "store", settings())


def test_an_epoch_has_its_steps_and_its_mix(data: MixedDataModule) -> None:
    found = batches(data)
    assert len(found) == 3
    for batch in found:
        assert batch.image.shape == (4, 1, 8, 8, 8)
        assert batch.stream.tolist() == [0, 1, 1, 1]
        assert sorted(batch.scan.tolist()) == [0, 1, 2, 3]


def test_the_codebook_holds_every_label_set_that_can_occur(data: MixedDataModule) -> None:
    space = data.annotated.codebook.space
    sets = data.annotated.codebook.sets
    assert set(sets) == {
        space.everything,
        *(frozenset([k]) for k in range(5)),
        space.label_set("TCV"),
    }


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:This DataLoader will create")
@pytest.mark.parametrize("workers", [1, 4])
def test_loader_processes_give_the_same_patches(
    data: MixedDataModule, workers: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    if workers > 1:  # the one is started as in a training, which takes it seconds of imports
        monkeypatch.setattr(datamodule, "light_spawn", lambda: CONTEXT)
    here = [*batches(data, trainer(done=0)), *batches(data, trainer(done=3))]
    data.trainer = None
    other = MixedDataModule(
        data.annotated, data.store, settings(workers=workers), data.augment, data.seed
    )
    other.setup()
    other.trainer = trainer()
    loader = other.train_dataloader()
    there = list(loader)
    # The processes stay for the next epoch.
    other.trainer.fit_loop.epoch_loop.batch_progress.total.ready = 3
    assert_equal(here, [*there, *loader])


@pytest.mark.filterwarnings("ignore:The `srun` command")
@pytest.mark.parametrize(
    ("wanted", "device", "devices", "environment", "expected"),
    [
        (None, "cpu", 1, None, 4),
        (None, "cuda", 1, None, 8),
        (None, "cuda", 4, LightningEnvironment, 4),
        (None, "cuda", 4, TorchElasticEnvironment, 4),
        (None, "cuda", 4, SLURMEnvironment, 8),
        (3, "cuda", 1, None, 3),
        (0, "cuda", 4, LightningEnvironment, 0),
    ],
)
def test_loader_processes_are_as_many_as_the_cores_of_a_device_allow(
    data: MixedDataModule,
    monkeypatch: pytest.MonkeyPatch,
    wanted: int | None,
    device: str,
    devices: int,
    environment: type | None,
    expected: int,
) -> None:
    monkeypatch.setattr(datamodule, "usable_cores", lambda: 16)
    strategy = SimpleNamespace(root_device=torch.device(device))
    if environment is not None:
        monkeypatch.setenv("LOCAL_RANK", "0")  # which Lightning sets before it asks for loaders
        strategy.cluster_environment = environment()
    patches = settings(workers=wanted)
    other = MixedDataModule(data.annotated, data.store, patches, data.augment, data.seed)
    assert other._loaders() == (wanted or 0)
    other.trainer = SimpleNamespace(strategy=strategy, num_devices=devices)  # type: ignore[assignment]
    assert other._loaders() == expected


def test_a_loader_process_need_not_wait_for_the_framework(
    data: MixedDataModule, tmp_path: Path
) -> None:
    other = MixedDataModule(
        data.annotated, data.store, settings(workers=1), data.augment, data.seed
    )
    other.setup()
    loader = other.train_dataloader()
    # What is sent to a loader process when it starts.
    sent = (loader.dataset, loader.collate_fn, loader.worker_init_fn)
    (tmp_path / "sent").write_bytes(pickle.dumps(sent))
    script = (
        "import pickle, sys; pickle.load(open(sys.argv[1], 'rb'));"
        "print(*{'lightning', 'monai', 'hydra', 'pandas'} & {*sys.modules})"
    )
    command = [sys.executable, "-c", script, str(tmp_path / "sent")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.split() == []


def test_ranks_share_the_items_of_each_step(data: MixedDataModule) -> None:
    whole = batches(data)
    first, second = batches(data, trainer(0, 2)), batches(data, trainer(1, 2))
    for one, a, b in zip(whole, first, second, strict=True):
        assert len(a) == len(b) == 2
        assert torch.equal(one.image, torch.cat([a.image, b.image]))
        assert torch.equal(one.codes, torch.cat([a.codes, b.codes]))
        assert not set(a.scan.tolist()) & set(b.scan.tolist())


@pytest.mark.parametrize("done", [1, 2, 3, 4, 7])
def test_a_resumed_run_goes_on_with_the_very_next_batch(data: MixedDataModule, done: int) -> None:
    uninterrupted = [b for epoch in range(3) for b in batches(data, trainer(done=3 * epoch))]
    rest = batches(data, trainer(done=done))
    end = (done // 3 + 1) * 3
    assert_equal(rest, uninterrupted[done:end])


def test_epochs_differ(data: MixedDataModule) -> None:
    first, second = batches(data, trainer(done=0)), batches(data, trainer(done=3))
    assert not any(torch.equal(a.image, b.image) for a in first for b in second)


def test_validation_has_whole_scans_in_order(tmp_path: Path) -> None:
    cohort = write_cohort(tmp_path, 4)
    splits = ["train", "val", "train", "val"]
    annotated = annotate_cohort(cohort, ["full", "full", "partial", "full"], splits)
    data = make_data(annotated, tmp_path / "store")
    assert [scan.entry.scan.subject for scan in data.train] == ["00", "02"]
    samples = list(data.val_dataloader())
    assert [sample.number for sample in samples] == [0, 1]
    for sample, scan in zip(samples, data.val, strict=True):
        assert sample.image.shape == (1, *scan.entry.shape)
        assert sample.codes.shape == scan.entry.shape


@pytest.mark.parametrize(("scans", "ranks"), [(1, 1), (3, 2), (4, 2), (2, 4), (5, 4)])
def test_ranks_share_the_validation_evenly(tmp_path: Path, scans: int, ranks: int) -> None:
    names = ["train", *["val"] * scans]
    annotated = annotate_cohort(write_cohort(tmp_path, len(names)), ["full"] * len(names), names)
    data = make_data(annotated, tmp_path / "store")
    shares = []
    for rank in range(ranks):
        data.trainer = trainer(rank, ranks)
        shares.append([sample.number for sample in data.val_dataloader()])
    assert {len(share) for share in shares} == {-(-scans // ranks)}
    assert set().union(*shares) == set(range(scans))


def test_every_scan_of_the_plan_is_prepared_and_told(tmp_path: Path) -> None:
    cohort = write_cohort(tmp_path, 4)
    cohort = replace(cohort, scans=cohort.scans[:3])
    annotated = annotate_cohort(cohort, ["full"] * 3, ["train", "val", "test"])
    data = make_data(annotated, tmp_path / "store")
    told: list[str] = []
    data.progress = told.append
    data.prepare_data()
    assert told == ["sub-00", "sub-01", "sub-02"]
    assert len([p for p in (tmp_path / "store" / "small").iterdir() if p.is_dir()]) == 3


@pytest.mark.parametrize("name", ["val", "test"])
def test_one_image_in_training_and_in_another_split_is_an_error(tmp_path: Path, name: str) -> None:
    cohort = write_cohort(tmp_path, 3)
    shutil.copy(cohort.scans[0].images[0], cohort.scans[2].images[0])
    apart = annotate_cohort(cohort, ["full"] * 3, ["train", "train", name])
    with pytest.raises(DataError, match=rf"sub-02.* is for {name} and shows.*sub-00.* is for tr"):
        make_data(apart, tmp_path / "store").prepare_data()
    together = annotate_cohort(cohort, ["full"] * 3, ["train", name, "train"])
    make_data(together, tmp_path / "store").prepare_data()


def test_a_scan_for_the_test_that_cannot_be_read_is_told_before_training(tmp_path: Path) -> None:
    cohort = write_cohort(tmp_path, 3)
    annotated = annotate_cohort(cohort, ["full"] * 3, ["train", "val", "test"])
    (tmp_path / "sub-02" / "image.nii.gz").write_bytes(b"")
    with pytest.raises(DataError, match=r"sub-02.image\.nii\.gz"):
        make_data(annotated, tmp_path / "store").prepare_data()


def test_random_slices_follow_the_draw_and_not_the_seed_of_the_training(tmp_path: Path) -> None:
    protocol = {"name": "partial", "slices": {"share": 0.4, "spacing": "random"}}
    plan = annotate_cohort(write_cohort(tmp_path, 2), ["full", "partial"], protocol=protocol)
    again = replace(plan, sources=tuple(replace(source, draw=1) for source in plan.sources))
    chosen = [
        make_data(annotated, tmp_path / "store", seed=seed).train[1].visible.slices
        for annotated, seed in ((plan, 3), (plan, 4), (again, 3))
    ]
    assert np.array_equal(chosen[0], chosen[1])  # type: ignore[arg-type]
    assert not np.array_equal(chosen[0], chosen[2])  # type: ignore[arg-type]


def test_a_damaged_block_is_told_with_its_file(tmp_path: Path) -> None:
    cohort = write_cohort(tmp_path, 2)
    annotated = annotate_cohort(cohort, ["full"] * 2, ["train", "val"])
    data = make_data(annotated, tmp_path / "store")
    data.prepare_data()
    data.setup()
    path = data.train[0].entry.folder / "image.b2nd"
    whole = path.read_bytes()
    told = []
    for place in range(len(whole) // 3, len(whole) - 60, 7):
        changed = bytearray(whole)
        changed[place] ^= 0xFF
        path.write_bytes(bytes(changed))
        try:
            data.train[0].entry.read_image()
        except DataError as error:
            told.append(str(error))
    assert any(str(path) in text and "neoseg.prepare" in text for text in told)


def test_nothing_to_train_on_is_an_error(tmp_path: Path) -> None:
    annotated = annotate_cohort(write_cohort(tmp_path, 2), ["full"] * 2, ["val", "test"])
    with pytest.raises(DataError, match="no scan is left for training"):
        make_data(annotated, tmp_path / "store")


def test_a_batch_too_small_for_the_streams_is_an_error(tmp_path: Path) -> None:
    annotated = annotate_cohort(write_cohort(tmp_path, 2), ["full", "partial"])
    with pytest.raises(DataError, match="batch_size is 1"):
        make_data(annotated, tmp_path / "store", settings(batch_size=1))


def test_the_teacher_view_leaves_the_rest_as_it_is(data: MixedDataModule) -> None:
    both = MixedDataModule(
        data.annotated, data.store, data.patches, data.augment, data.seed, with_teacher=True
    )
    both.setup()
    found = batches(both)
    assert_equal(found, batches(data))
    assert all(batch.teacher_image is not None for batch in found)


@pytest.mark.parametrize(
    "protocol",
    [
        {"name": "partial", "merge": ["TCV"]},
        {"name": "partial", "merge": ["GM", "TCV"]},
        {"name": "partial", "unlabelled": True},
    ],
)
def test_nothing_sees_what_a_protocol_hides(tmp_path: Path, protocol: dict[str, object]) -> None:
    """Noise in place of the hidden labels gives the same batches to the bit."""
    streams = ["full", "unlabelled" if "unlabelled" in protocol else "partial"]
    streams += streams[1:] * 2
    true, noise = write_cohort(tmp_path / "a"), write_cohort(tmp_path / "b", scrambled=[1, 2, 3])
    loaders = []
    for name, cohort in (("a", true), ("b", noise)):
        annotated = annotate_cohort(cohort, streams, protocol=protocol)
        patches = settings(steps_per_epoch=25, foreground=0.9)
        data = make_data(annotated, tmp_path / name / "store", patches)
        loaders.append(data.train_dataloader())
    assert_equal(*[list(loader) for loader in loaders])


def test_noise_shows_where_nothing_is_hidden(tmp_path: Path) -> None:
    """The test above could not fail if the noise never reached a batch."""
    true, noise = write_cohort(tmp_path / "a"), write_cohort(tmp_path / "b", scrambled=[1, 2, 3])
    first, second = (
        make_data(annotate_cohort(cohort, ["full"] * 4), tmp_path / name / "store")
        for name, cohort in (("a", true), ("b", noise))
    )
    pairs = zip(first.train_dataloader(), second.train_dataloader(), strict=True)
    assert all(not torch.equal(a.codes, b.codes) for a, b in islice(pairs, 3))
