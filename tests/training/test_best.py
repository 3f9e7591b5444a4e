"""A run can predict with the weights of its best validation instead of the last."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from interruption import Killed, assert_same, assert_same_runs, die_at
from omegaconf import DictConfig
from tiny_run import load_module, train
from torch import Tensor

from neoseg.inference.checkpoint import predicting_checkpoint
from neoseg.training.best import BestCheckpoint
from neoseg.training.checkpoint import LastCheckpoint
from neoseg.training.module import MONITOR, SegmentationModule

SETTINGS = ("supervised", "trainer.max_epochs=4", "patches.steps_per_epoch=2")


@pytest.fixture
def dice(monkeypatch: pytest.MonkeyPatch) -> Callable[[list[float]], list[dict[str, Tensor]]]:
    """Make validations find what the test says; return the weights that each of them saw."""

    def told(values: list[float]) -> list[dict[str, Tensor]]:
        seen: list[dict[str, Tensor]] = []

        def validated(module: SegmentationModule) -> None:
            value = values[module.trainer.current_epoch]
            seen.append({k: v.clone() for k, v in module.state_dict().items()})
            module.log(MONITOR, torch.tensor(value))

        monkeypatch.setattr(SegmentationModule, "on_validation_epoch_end", validated)
        return seen

    return told


def weights(path: Path) -> dict[str, Tensor]:
    return dict(torch.load(path, weights_only=True)["state_dict"])


@pytest.mark.parametrize(
    ("values", "best"),
    [
        ([0.2, 0.6, float("nan"), 0.4], 1),
        ([0.0, 0.0, 0.0, 0.0], 0),
        ([float("nan"), 0.1, 0.1, 0.3], 3),
    ],
)
def test_the_best_weights_predict(
    values: list[float],
    best: int,
    dice: Callable[[list[float]], list[dict[str, Tensor]]],
    configured: Callable[..., DictConfig],
    tmp_path: Path,
) -> None:
    seen = dice(values)
    train(configured(*SETTINGS, "checkpoint.best=true"), tmp_path)
    assert len(seen) == 4
    assert_same(weights(tmp_path / "checkpoints" / "best.ckpt"), dict(seen[best]))
    assert_same(weights(tmp_path / "checkpoints" / "last.ckpt"), dict(seen[3]))
    assert_same(dict(load_module(tmp_path).state_dict()), dict(seen[best]))
    assert json.loads((tmp_path / "run.json").read_text())["checkpoint"] == "best.ckpt"


def test_without_it_the_last_weights_predict(
    dice: Callable[[list[float]], list[dict[str, Tensor]]],
    configured: Callable[..., DictConfig],
    tmp_path: Path,
) -> None:
    seen = dice([0.6, 0.2, 0.2, 0.4])
    train(configured(*SETTINGS), tmp_path)
    assert predicting_checkpoint(tmp_path).name == "last.ckpt"
    assert_same(dict(load_module(tmp_path).state_dict()), dict(seen[3]))
    assert json.loads((tmp_path / "run.json").read_text())["checkpoint"] == "last.ckpt"


def test_a_validation_without_a_number_leaves_the_last_weights(
    dice: Callable[[list[float]], list[dict[str, Tensor]]],
    configured: Callable[..., DictConfig],
    tmp_path: Path,
) -> None:
    dice([float("nan")] * 4)
    train(configured(*SETTINGS, "checkpoint.best=true"), tmp_path)
    assert [path.name for path in (tmp_path / "checkpoints").iterdir()] == ["last.ckpt"]


@pytest.mark.parametrize(
    ("owner", "method", "call"),
    [
        (LastCheckpoint, "_save", 1),
        (BestCheckpoint, "on_train_epoch_end", 2),
        (SegmentationModule, "training_step", 5),
    ],
)
def test_an_interruption_leaves_the_same_best_weights(
    owner: type,
    method: str,
    call: int,
    dice: Callable[[list[float]], list[dict[str, Tensor]]],
    configured: Callable[..., DictConfig],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    dice([0.3, 0.6, 0.5, 0.6])
    config = configured(*SETTINGS, "checkpoint.best=true")
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    train(config.copy(), whole)
    with monkeypatch.context() as context:
        die_at(method, call, owner, context)
        with pytest.raises(Killed):
            train(config.copy(), broken)
    train(config.copy(), broken)
    assert_same_runs(whole, broken)
    first, second = (weights(run / "checkpoints" / "best.ckpt") for run in (whole, broken))
    assert_same(first, second)
