"""A loss that is not a number stops a training or is left out, and leaves the patch behind."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from hydra.core.global_hydra import GlobalHydra
from interruption import Killed, assert_same_runs, die_at
from omegaconf import DictConfig
from tiny_run import train

from neoseg.findings.settings import ConfigError
from neoseg.patches.batch import Batch
from neoseg.patches.dataset import PatchDataset
from neoseg.replay import main as replay
from neoseg.training.kept_batch import read_batch, write_batch
from neoseg.training.module import SegmentationModule
from neoseg.training.nonfinite import NonFiniteLoss, NonFiniteLossError

POISONED = (5, 1)
"""Step and item whose image gets NaN: the second step of the second epoch."""

SETTINGS = ("partial_mean_teacher", "network.net.norm=BATCH", "checkpoint.every_steps=1")


@pytest.fixture
def poisoned(monkeypatch: pytest.MonkeyPatch) -> dict[tuple[int, int], Batch]:
    """Spoil one patch of the stream; return what the data set gave, by step and item."""
    plain = PatchDataset.__getitem__
    given: dict[tuple[int, int], Batch] = {}

    def spoilt(self: PatchDataset, key: tuple[int, int]) -> Batch:
        batch = plain(self, key)
        if key == POISONED:
            batch.image[0, 0, 3, 4, 5] = float("nan")
        given[key] = batch
        return batch

    monkeypatch.setattr(PatchDataset, "__getitem__", spoilt)
    return given


def kept_by(run: Path) -> Path:
    (path,) = (run / "nan").glob("*.npz")
    return path


def run_replay(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> int:
    GlobalHydra.instance().clear()
    monkeypatch.setattr(sys, "argv", ["replay", *map(str, arguments)])
    try:
        replay()
    except SystemExit as stop:
        return int(stop.code or 0)
    return 0


def test_it_stops_and_keeps_the_patch_for_replay(
    configured: Callable[..., DictConfig],
    poisoned: dict[tuple[int, int], Batch],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(NonFiniteLossError) as caught:
        train(configured(*SETTINGS), tmp_path)
    path = kept_by(tmp_path)
    text = str(caught.value)
    assert "step 5 (items [0, 1]): the training stops" in text
    assert str(path) in text
    saved = torch.load(tmp_path / "checkpoints" / "last.ckpt", weights_only=True)
    assert saved["global_step"] == 5
    assert all(torch.isfinite(value).all() for value in saved["state_dict"].values())

    kept = read_batch(path)
    assert (kept.about["seed"], kept.about["step"], kept.about["items"]) == (0, 5, [0, 1])
    assert f"The patch of {kept.about['scans'][1]} holds voxels that are not numbers" in text
    for place in (0, 1):
        batch = poisoned[5, place].with_intensities()
        np.testing.assert_array_equal(kept.batch.image[place], batch.image[0])
        np.testing.assert_array_equal(kept.batch.codes[place], batch.codes[0])

    assert run_replay(monkeypatch, f"patch={path}") == 0
    shown = capsys.readouterr().out
    assert "holds no numbers" in shown
    rows = [line.split("│") for line in shown.splitlines() if line.startswith("│")]
    losses = [cells[-3].strip() for cells in rows if cells[-3].strip()]  # cells may wrap
    assert losses[1:] == ["nan", "nan"]
    assert float(losses[0]) > 0


def test_no_name_in_a_patch_reaches_the_terminal_as_it_is(
    configured: Callable[..., DictConfig],
    poisoned: dict[tuple[int, int], Batch],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(NonFiniteLossError):
        train(configured(*SETTINGS), tmp_path)
    path = kept_by(tmp_path)
    kept = read_batch(path)
    kept.about |= {
        "loss": "\x1b]0;mine\x07",
        "scans": ["\x1b[2Ja", "[bold]b"],
        "files": ["\x1b[8m"],
    }
    write_batch(path, kept)
    capsys.readouterr()
    assert run_replay(monkeypatch, f"patch={path}") == 0
    shown = "".join(capsys.readouterr())
    assert "[bold]b" in shown
    assert not {"\x1b", "\x07"} & set(shown)


def test_replay_refuses_what_is_no_patch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    np.savez(tmp_path / "a.npz", about=np.array({"a": 1}, dtype=object))
    assert run_replay(monkeypatch, f"patch={tmp_path / 'a.npz'}") == 2
    assert "is not a patch that a training has kept" in capsys.readouterr().out


def test_a_skipped_step_changes_nothing_and_resumes_exactly(
    configured: Callable[..., DictConfig],
    poisoned: dict[tuple[int, int], Batch],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    settings = (*SETTINGS, "on_nan=skip", "optimizer.schedule=constant")
    train(configured(*settings), whole)
    state = torch.load(whole / "checkpoints" / "last.ckpt", weights_only=True)
    assert state["callbacks"]["NonFiniteLoss"] == {"skipped": 1}
    assert state["global_step"] == 8
    assert all(torch.isfinite(value).all() for value in state["state_dict"].values())
    assert len(list((whole / "nan").glob("*.npz"))) == 1

    for call in (6, 0):  # after the step that was left out, and once more at once
        with monkeypatch.context() as context:
            die_at("training_step", call, SegmentationModule, context)
            with pytest.raises(Killed):
                train(configured(*settings), cut)
        if call == 6:
            kept = torch.load(cut / "checkpoints" / "last.ckpt", weights_only=True)
    assert kept["global_step"] == 6
    train(configured(*settings), cut)
    assert_same_runs(whole, cut)


def test_weights_statistics_optimizer_and_teacher_stay_as_they_were(
    configured: Callable[..., DictConfig],
    poisoned: dict[tuple[int, int], Batch],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    states = []
    for call in (5, 6):
        folder = tmp_path / str(call)
        with monkeypatch.context() as context:
            die_at("training_step", call, SegmentationModule, context)
            with pytest.raises(Killed):
                train(configured(*SETTINGS, "on_nan=skip"), folder)
        states.append(torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True))
    before, after = states
    assert (before["global_step"], after["global_step"]) == (5, 6)
    for name, value in before["state_dict"].items():
        assert torch.equal(value, after["state_dict"][name]), name
    moments = [state["optimizer_states"][0]["state"] for state in states]
    for number, values in moments[0].items():
        assert all(torch.equal(values[key], moments[1][number][key]) for key in values)


def test_one_too_many_ends_it(
    configured: Callable[..., DictConfig],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    plain = SegmentationModule.training_step
    monkeypatch.setattr(
        SegmentationModule, "training_step", lambda *args: plain(*args) * float("inf")
    )
    with pytest.raises(NonFiniteLossError, match="2 steps were left out before"):
        train(configured("supervised", "on_nan=skip", "max_skipped=2"), tmp_path)
    assert len(list((tmp_path / "nan").glob("*.npz"))) == 3


@pytest.fixture
def steep(monkeypatch: pytest.MonkeyPatch) -> None:
    """Give the third step a finite loss whose gradient is not a number."""
    plain, steps = SegmentationModule.training_step, iter(range(1000))

    def training_step(module: SegmentationModule, *args: Any) -> torch.Tensor:
        loss = plain(module, *args)
        if next(steps) == 2:
            loss = loss + (next(module.network.parameters()).sum() * 0).abs().sqrt()
        return loss

    monkeypatch.setattr(SegmentationModule, "training_step", training_step)


@pytest.mark.usefixtures("steep")
def test_a_gradient_that_is_not_a_number_stops_it_before_the_weights_change(
    configured: Callable[..., DictConfig],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(NonFiniteLossError, match=r"a gradient is nan in step 2 .*: the training"):
        train(configured(*SETTINGS), tmp_path)
    saved = torch.load(tmp_path / "checkpoints" / "last.ckpt", weights_only=True)
    assert saved["global_step"] == 2
    for weights in (saved, torch.load(tmp_path / "nan" / "weights.ckpt", weights_only=True)):
        assert all(torch.isfinite(value).all() for value in weights["state_dict"].values())
    kept = kept_by(tmp_path)
    assert float(read_batch(kept).about["loss"]) > 0

    assert run_replay(monkeypatch, f"patch={kept}") == 0
    rows = [line.split("│") for line in capsys.readouterr().out.splitlines() if "│" in line]
    numbers = [[float(cell) for cell in cells[-3:-1]] for cells in rows if cells[-2].strip()]
    assert len(numbers) == 3
    assert all(0 < value < float("inf") for pair in numbers for value in pair)


@pytest.mark.usefixtures("steep")
def test_a_step_of_several_batches_leaves_nothing_behind(
    configured: Callable[..., DictConfig], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The third batch is the first of its step; the fourth is the one that is at hand then."""
    several = (*SETTINGS, "on_nan=skip", "trainer.accumulate_grad_batches=2")
    train(configured(*several, "trainer.max_epochs=1", "patches.steps_per_epoch=4"), tmp_path)
    assert "a gradient of this batch or an earlier one is nan" in caplog.text
    state = torch.load(tmp_path / "checkpoints" / "last.ckpt", weights_only=True)
    norms = {k: v for k, v in state["state_dict"].items() if k.endswith("num_batches_tracked")}
    assert norms
    assert {int(value) for key, value in norms.items() if key.startswith("network")} == {2}


@pytest.mark.usefixtures("steep")
def test_a_gradient_that_is_not_a_number_is_left_out(
    configured: Callable[..., DictConfig], tmp_path: Path
) -> None:
    train(configured(*SETTINGS, "on_nan=skip"), tmp_path)
    state = torch.load(tmp_path / "checkpoints" / "last.ckpt", weights_only=True)
    assert state["callbacks"]["NonFiniteLoss"] == {"skipped": 1}
    assert all(torch.isfinite(value).all() for value in state["state_dict"].values())
    for moments in state["optimizer_states"][0]["state"].values():
        assert all(torch.isfinite(value).all() for value in moments.values())


@pytest.mark.parametrize("setting", ["on_nan=ignore", "max_skipped=-1"])
def test_settings_are_checked(
    setting: str, configured: Callable[..., DictConfig], tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=setting.split("=")[0]):
        train(configured("supervised", setting), tmp_path)


@pytest.mark.parametrize("mine", [True, False])
def test_all_processes_leave_out_what_one_of_them_cannot_use(
    tmp_path: Path, mine: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    watch = NonFiniteLoss(tmp_path, "skip", 10, 0, 0)
    asked: list[float] = []

    def largest(value: torch.Tensor) -> torch.Tensor:
        asked.append(float(value))
        return torch.tensor(1.0)  # another process, or this one, has a loss that is not a number

    monkeypatch.setattr("neoseg.training.nonfinite.largest_of_all_ranks", largest)
    scan = SimpleNamespace(id="sub-1", images=(Path("a.nii"),))
    progress = SimpleNamespace(total=SimpleNamespace(ready=4))
    trainer: Any = SimpleNamespace(
        world_size=2,
        global_rank=1,
        precision_plugin=None,
        datamodule=SimpleNamespace(train=[SimpleNamespace(entry=SimpleNamespace(scan=scan))]),
        fit_loop=SimpleNamespace(epoch_loop=SimpleNamespace(batch_progress=progress)),
    )
    module: Any = torch.nn.BatchNorm3d(1)
    zero = torch.zeros(2, dtype=torch.long)
    batch = Batch(torch.zeros(2, 1, 2, 2, 2), zero[:, None, None, None], zero, zero)
    optimizer = torch.optim.SGD(module.parameters(), lr=1.0)

    watch.on_train_batch_start(trainer, module, batch)
    watch.on_before_backward(trainer, module, torch.tensor(float("nan") if mine else 0.5))
    watch.on_after_backward(trainer, module)
    module.weight.grad = torch.ones(1)
    watch.on_before_optimizer_step(trainer, module, optimizer)
    assert module.weight.grad is None
    assert asked == [float(mine)]
    assert watch.skipped == 1
    names = [path.name for path in tmp_path.iterdir()]
    assert names == (["step-00000003-rank-1.npz"] if mine else [])
    if mine:
        assert read_batch(tmp_path / names[0]).about["items"] == [2, 3]
