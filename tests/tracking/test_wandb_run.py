"""A run in W&B goes on as the same, takes nothing from the training and may break."""

from __future__ import annotations

import logging
import os
import random
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import wandb
from lightning.pytorch.utilities import rank_zero_only
from omegaconf import DictConfig
from recording_server import RecordingServer, sync
from small_wandb_run import configured_run
from tiny_run import train

from neoseg.inference.planes import middle_planes
from neoseg.labels import Codebook
from neoseg.tracking.curves import CurveLogger
from neoseg.tracking.masks import mask_numbers, masked_images
from neoseg.training.module import SegmentationModule

SHAPE = (6, 8, 10)


class Stopped(BaseException):
    """Stands in for SIGKILL."""


@pytest.fixture
def planes(codebook: Codebook) -> Any:
    values = np.random.default_rng(0)
    image = values.random(SHAPE)
    leaves = values.integers(0, 4, SHAPE).astype(np.uint8)
    codes = values.integers(0, codebook.size, SHAPE).astype(np.uint8)
    return middle_planes(image, leaves, codes, codebook, (1.0, 1.0, 1.0))


class FakeRun:
    """A W&B run of which only the end counts; it goes wrong."""

    id = "x"

    def __init__(self) -> None:
        self.codes: list[int] = []

    def log(self, *_: Any, **__: Any) -> None:
        pass

    define_metric = log

    def finish(self, exit_code: int) -> None:
        self.codes.append(exit_code)
        raise wandb.Error("and again")


def services() -> list[int]:
    """Return the W&B services that this process started."""
    children = [
        int(child)
        for path in Path("/proc/self/task").glob("*/children")
        for child in path.read_text().split()
    ]
    return [c for c in children if Path(f"/proc/{c}/comm").read_text().startswith("wandb-core")]


def states() -> list[Any]:
    return [torch.get_rng_state().tolist(), random.getstate(), np.random.get_state()[1].tolist()]


def test_a_merged_label_set_is_a_class_of_its_own(planes: Any, codebook: Codebook) -> None:
    numbers = mask_numbers(codebook)
    merged = codebook.code(frozenset({1, 2}))
    assert codebook.names[merged] == "LR"
    assert sorted(numbers) == list(range(codebook.size))
    assert numbers[codebook.space.background + 1] == 0
    for image, plane in zip(masked_images("a", planes, codebook), planes, strict=True):
        truth = image._masks["truth"]._val
        np.testing.assert_array_equal(truth["mask_data"], numbers[plane.truth])
        assert truth["class_labels"][int(numbers[merged])] == "LR"
        assert (truth["mask_data"] == numbers[merged]).any()


@pytest.mark.slow
def test_wandb_draws_no_random_numbers(tmp_path: Path, planes: Any, codebook: Codebook) -> None:
    run = configured_run(tmp_path)
    before = states()
    run.rewind(0)
    run.log_metrics({"train/loss": 1.0}, step=0)
    for number in (1, 2):
        run.log_overlay(number, "sub-1", planes, codebook, 0)
    run.close()
    assert not run.broken
    assert states() == before


@pytest.mark.parametrize("where", ["init", "Image"])
def test_an_error_of_wandb_is_one_warning(
    where: str,
    tmp_path: Path,
    planes: Any,
    codebook: Codebook,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def broken(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device")

    fake = FakeRun()
    monkeypatch.setattr(wandb, "init", lambda **_: fake)
    monkeypatch.setattr(wandb, where, broken)
    run = configured_run(tmp_path)
    with caplog.at_level(logging.WARNING, logger="neoseg"):
        run.rewind(0)
        for step in range(3):
            run.log_overlay(1, "sub-1", planes, codebook, step)
            run.log_metrics({"a": 1.0}, step)
        run.close()
    assert run.broken
    (record,) = caplog.records
    assert "No space left on device" in record.getMessage()
    assert str(tmp_path / "metrics.csv") in record.getMessage()
    assert fake.codes == ([1] if where == "Image" else [])


def test_a_run_that_cannot_be_scored_has_failed(
    configured: Callable[..., DictConfig], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any) -> None:
        raise RuntimeError("no scores")

    run = FakeRun()
    monkeypatch.setattr(wandb, "init", lambda **_: run)
    monkeypatch.setattr(wandb, "Image", lambda *_, **__: None)
    monkeypatch.setattr("neoseg.runs.run.conclude", broken)
    with pytest.raises(RuntimeError, match="no scores"):
        train(configured(), tmp_path)
    assert run.codes == [1]


def test_other_processes_say_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rank_zero_only, "rank", 1)
    monkeypatch.setattr(wandb, "init", lambda **_: pytest.fail("opened a run"))
    run = configured_run(tmp_path)
    run.rewind(0)
    run.log_metrics({"a": 1.0}, 0)
    run.close()
    assert not run.broken


@pytest.mark.slow
def test_a_resumed_training_is_the_same_run_and_learns_as_without_it(
    configured: Callable[..., DictConfig],
    server: RecordingServer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    settings = ("score=false", "network.net.dropout=0.2", "checkpoint.every_steps=1")
    config = configured(*settings)
    plain, calls = SegmentationModule.training_step, [0]

    def dying(*args: Any) -> Any:
        calls[0] += 1
        if calls[0] == 4:
            raise Stopped
        return plain(*args)

    run = tmp_path / "run"
    with monkeypatch.context() as context:
        context.setattr(SegmentationModule, "training_step", dying)
        with pytest.raises(Stopped):
            train(config, run)
    train(config, run)
    folders = sorted((run / "wandb").glob("offline-run-*"))
    assert len(folders) == 2
    sync(server, folders, tmp_path)
    (found,) = server.runs.values()
    sent = [row for row in found.history if "train/loss" in row or "val/dice" in row]
    written = [row for row in CurveLogger(run / "metrics.csv").rows if row]
    assert [row["step"] for row in sent] == [row["step"] for row in written]
    assert [row.get("train/loss") for row in sent] == [row.get("train/loss") for row in written]

    assert list(found.artifacts.values()) == ["run-card"]  # though there are no scores
    train(configured(*settings, "logger=csv"), tmp_path / "alone")
    recorded, alone = (
        torch.load(tmp_path / name / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]
        for name in ("run", "alone")
    )
    assert all(torch.equal(value, alone[name]) for name, value in recorded.items())


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="needs Linux's /proc")
def test_a_service_that_dies_leaves_the_training_alone(
    configured: Callable[..., DictConfig],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    plain = SegmentationModule.on_validation_epoch_end

    killed: list[int] = []

    def deadly(self: SegmentationModule) -> None:
        found = services() if not killed else []
        for process in found:
            os.kill(process, signal.SIGKILL)
        killed.extend(found)
        plain(self)

    monkeypatch.setattr(SegmentationModule, "on_validation_epoch_end", deadly)
    train(configured("score=false"), tmp_path)
    assert killed
    assert (tmp_path / "run.json").is_file()
    assert len(CurveLogger(tmp_path / "metrics.csv").rows) == 6
    assert sum("W&B is switched off" in record.message for record in caplog.records) == 1


@pytest.mark.slow
def test_online_it_speaks_to_the_server(
    server: RecordingServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in server.environment(tmp_path).items():
        monkeypatch.setenv(name, value)
    wandb.teardown()  # the service keeps the settings that it started with
    run = configured_run(tmp_path, mode="online")
    run.rewind(0)
    run.log_metrics({"train/loss": 0.5}, step=3)
    run.close()
    wandb.teardown()
    assert not run.broken
    (run,) = server.runs.values()
    assert [(row["step"], row["train/loss"]) for row in run.history] == [(3, 0.5)]
    assert run.about["groupName"] == "sweep"
