"""A run that is killed and started again in its folder ends with the same bits."""

from __future__ import annotations

import json
import logging
import os
import random
import re
import signal
import time
from collections.abc import Callable
from itertools import chain, repeat
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import pytest
import torch
from forked import run_command, start_command
from interruption import Killed, assert_same, assert_same_runs, curves, die_at
from lightning.pytorch.callbacks import Timer
from lightning.pytorch.utilities.exceptions import SIGTERMException
from omegaconf import DictConfig
from tiny_run import train

from neoseg.configuration.resume import resumed
from neoseg.findings.settings import ConfigError
from neoseg.labelling.atlas import METHOD
from neoseg.patches.dataset import TrainingScan
from neoseg.patches.pseudo import is_written
from neoseg.runs.run import train as train_run
from neoseg.training.checkpoint import LastCheckpoint
from neoseg.training.module import SegmentationModule

ONE_CYCLE = "{_target_:torch.optim.lr_scheduler.OneCycleLR,max_lr:1e-2,total_steps:auto}"
CASES = {
    "classes": (
        *("partial_superclass", "optimizer=nadam", "optimizer.warmup_steps=0"),
        f"optimizer.schedule={ONE_CYCLE}",
    ),
    "plateau": ("partial_superclass", "optimizer.schedule=plateau", "optimizer.warmup_steps=0"),
    "teacher": ("partial_mean_teacher", "trainer.accumulate_grad_batches=2", "early_stopping=1"),
    "unsure": ("partial_uncertainty_teacher", "teacher.passes=2", "optimizer.schedule=poly"),
    "peer": (
        *("partial_cross_pseudo", "loss=[iuc,cross_pseudo,fixmatch]", "predict_with=peer"),
        *("optimizer.schedule=plateau", "optimizer.warmup_steps=5"),
    ),
}


SAVED_EARLY = ("classes", "1")


@pytest.fixture(scope="module")
def whole_runs() -> dict[tuple[str, ...], Path]:
    """Runs without interruption, by their settings."""
    return {}


@pytest.fixture
def uninterrupted(
    configured: Callable[..., DictConfig],
    whole_runs: dict[tuple[str, ...], Path],
    tmp_path_factory: pytest.TempPathFactory,
) -> Callable[..., Path]:
    """Return the folder of a run that nothing disturbed."""

    def run(*settings: str) -> Path:
        if settings not in whole_runs:
            folder = tmp_path_factory.mktemp("whole")
            train(configured(*settings), folder)
            whole_runs[settings] = folder
        return whole_runs[settings]

    return run


@pytest.mark.parametrize(
    ("case", "every_steps", "owner", "method", "call"),
    [
        (case, every, *moment)
        for case, every in (("plateau", "null"), ("plateau", "3"), ("teacher", "1"), SAVED_EARLY)
        for moment in (
            (SegmentationModule, "training_step", 0),
            (SegmentationModule, "training_step", 3),
            (SegmentationModule, "training_step", 5),
            (SegmentationModule, "on_train_epoch_end", 0),
            (SegmentationModule, "on_validation_epoch_end", 1),
            (LastCheckpoint, "_save", 1),
        )
        # Where nothing has been saved all begin anew: one case shows it.
        if moment[1] != "training_step"
        or (case, every) == SAVED_EARLY
        or moment[2] >= (5 if every == "null" else 3)
    ],
)
def test_same_bits_after_an_interruption(
    case: str,
    every_steps: str,
    owner: type,
    method: str,
    call: int,
    configured: Callable[..., DictConfig],
    uninterrupted: Callable[..., Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    # The reference writes its checkpoints elsewhere in time, which must not matter either.
    expected = uninterrupted(*CASES[case])
    settings = (*CASES[case], f"checkpoint.every_steps={every_steps}")
    with monkeypatch.context() as context:
        die_at(method, call, owner, context)
        with pytest.raises(Killed):
            train(configured(*settings), tmp_path)
    assert not (tmp_path / "run.json").exists()
    train(configured(*settings), tmp_path)
    assert_same_runs(expected, tmp_path)
    told = [re.match(r"epoch .*, step (\d+)/(\d+): .*, Dice", line) for line in caplog.messages]
    assert {match[1] == match[2] for match in told if match} == {True}  # of epochs that ended


@pytest.mark.parametrize("case", ["unsure", "peer"])
@pytest.mark.parametrize(
    ("owner", "method", "call"),
    [
        (SegmentationModule, "training_step", 2),
        (SegmentationModule, "on_validation_epoch_end", 0),
        (SegmentationModule, "training_step", 6),
    ],
)
def test_noisy_teachers_and_peers_go_on_with_the_same_bits(
    owner: type,
    method: str,
    call: int,
    case: str,
    configured: Callable[..., DictConfig],
    uninterrupted: Callable[..., Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with monkeypatch.context() as context:
        die_at(method, call, owner, context)
        with pytest.raises(Killed):
            train(configured(*CASES[case], "checkpoint.every_steps=1"), tmp_path)
    train(configured(*CASES[case]), tmp_path)
    assert_same_runs(uninterrupted(*CASES[case]), tmp_path)


def test_the_end_of_its_time_leaves_a_run_that_can_go_on(
    configured: Callable[..., DictConfig],
    uninterrupted: Callable[..., Path],
    tmp_path: Path,
) -> None:
    limited = configured(*CASES["plateau"], "trainer.max_time=00:00:00:01")
    elapsed = chain([0.0], repeat(5.0))  # nothing at the start
    with pytest.MonkeyPatch.context() as context:
        context.setattr(Timer, "time_elapsed", lambda *_: next(elapsed))
        train(limited, tmp_path)
    assert json.loads((tmp_path / "run.json").read_text())["steps"] == 4
    train(limited, tmp_path)
    with pytest.raises(ConfigError, match=r"which ended after 4 of .* trainer.max_time=null"):
        train(configured(*CASES["plateau"]), tmp_path)
    (tmp_path / "run.json").unlink()
    train(configured(*CASES["plateau"]), tmp_path)
    first, second = (
        torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]
        for run in (uninterrupted(*CASES["plateau"]), tmp_path)
    )
    assert_same(first, second)
    assert curves(uninterrupted(*CASES["plateau"])) == curves(tmp_path)


def test_other_pseudo_labels_in_the_midst_of_a_run_are_told(
    configured: Callable[..., DictConfig],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Another version of neoseg registers otherwise."""
    settings = (*CASES["plateau"], "checkpoint.every_steps=1")
    compared = list[Path]()

    def noted(scan: TrainingScan, root: Path, *made_of: str) -> bool:
        compared.append(root)
        return is_written(scan, root, *made_of)

    monkeypatch.setattr("neoseg.runs.pseudo_labels.is_written", noted)
    for call, resuming in ((3, False), (1, True)):
        with monkeypatch.context() as context:
            die_at("training_step", call, SegmentationModule, context)
            with pytest.raises(Killed):
                train(configured(*settings), tmp_path)
        assert bool(compared) == resuming
    assert "made again" not in caplog.text
    monkeypatch.setattr("neoseg.runs.pseudo_labels.METHOD", -1)
    train(configured(*settings), tmp_path)
    assert re.search(r"(\d) of \1 pseudo-labels are made again during the run, be", caplog.text)
    record = json.loads((tmp_path / "run.json").read_text())
    assert "made again" in record["changes"][0]
    assert record["versions"]["registration"] == str(METHOD)


def test_many_interruptions(
    configured: Callable[..., DictConfig],
    uninterrupted: Callable[..., Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    settings = (*CASES["plateau"], "checkpoint.every_steps=1")
    for _ in range(3):
        with monkeypatch.context() as context:
            die_at("training_step", 2, SegmentationModule, context)
            with pytest.raises(Killed):
                train(configured(*settings), tmp_path)
    train(configured(*settings), tmp_path)
    assert_same_runs(uninterrupted(*CASES["plateau"]), tmp_path)


@pytest.mark.parametrize("call", [1, 3])
def test_sigterm_saves_the_step_and_ends(
    call: int,
    configured: Callable[..., DictConfig],
    uninterrupted: Callable[..., Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    plain, calls = SegmentationModule.training_step, [0]

    def signalled(*args: Any) -> Any:
        if calls[0] == call:
            os.kill(os.getpid(), signal.SIGTERM)
        calls[0] += 1
        return plain(*args)

    settings = CASES["plateau"]
    with monkeypatch.context() as context:
        context.setattr(SegmentationModule, "training_step", signalled)
        with pytest.raises(SIGTERMException):
            train(configured(*settings), tmp_path)
    saved = torch.load(tmp_path / "checkpoints" / "last.ckpt", weights_only=True)
    assert saved["global_step"] == call + 1
    train(configured(*settings), tmp_path)
    assert_same_runs(uninterrupted(*settings), tmp_path)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_after_the_last_step_ends_the_run_as_well(
    number: signal.Signals,
    configured: Callable[..., DictConfig],
    uninterrupted: Callable[..., Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It must not train on with its next stage, or begin to score."""
    settings = CASES["plateau"]
    handler = signal.getsignal(number)
    with monkeypatch.context() as context:
        told = lambda _: os.kill(os.getpid(), number)  # noqa: E731
        context.setattr(SegmentationModule, "on_train_end", told)
        with pytest.raises(SIGTERMException) as end:
            train(configured(*settings), tmp_path)
    signal.signal(number, handler)
    assert end.value.code == number
    assert not (tmp_path / "run.json").exists()
    train(configured(*settings), tmp_path)
    assert_same_runs(uninterrupted(*settings), tmp_path)


def test_ctrl_c_keeps_the_last_checkpoint(
    configured: Callable[..., DictConfig],
    uninterrupted: Callable[..., Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def interrupted(*args: Any) -> Any:
        raise KeyboardInterrupt

    handler = signal.getsignal(signal.SIGINT)
    with monkeypatch.context() as context:
        context.setattr(SegmentationModule, "on_validation_epoch_end", interrupted)
        with pytest.raises(SystemExit) as stop:
            train(configured(*CASES["plateau"], "checkpoint.every_steps=3"), tmp_path)
    signal.signal(signal.SIGINT, handler)  # Lightning ignores it from then on
    assert stop.value.code == 1
    saved = torch.load(tmp_path / "checkpoints" / "last.ckpt", weights_only=True)
    assert saved["global_step"] == 3
    train(configured(*CASES["plateau"]), tmp_path)
    assert_same_runs(uninterrupted(*CASES["plateau"]), tmp_path)


def test_a_stopped_run_does_not_train_on(
    configured: Callable[..., DictConfig], tmp_path: Path
) -> None:
    settings = ("supervised", "early_stopping=1", "optimizer.lr=1e-12", "trainer.max_epochs=4")
    train(configured(*settings), tmp_path)
    before = (tmp_path / "checkpoints" / "last.ckpt").read_bytes(), curves(tmp_path)
    assert json.loads((tmp_path / "run.json").read_text())["steps"] == 8
    (tmp_path / "run.json").unlink()  # as if killed while scoring
    train(configured(*settings), tmp_path)
    assert json.loads((tmp_path / "run.json").read_text())["steps"] == 8
    assert ((tmp_path / "checkpoints" / "last.ckpt").read_bytes(), curves(tmp_path)) == before


def test_a_run_that_has_ended_goes_on_with_more_epochs(
    configured: Callable[..., DictConfig], tmp_path: Path
) -> None:
    settings = ("supervised", "score=false")
    train(configured(*settings, "trainer.max_epochs=1"), tmp_path)
    epoch = json.loads((tmp_path / "run.json").read_text())["steps"]
    first = curves(tmp_path)
    longer = resumed(tmp_path, [f"resume={tmp_path}", f"trainer.max_steps={epoch + 1}"])
    train_run(longer, tmp_path, resuming=True)
    ended = json.loads((tmp_path / "run.json").read_text())["steps"]
    assert ended == 2 * epoch  # whole epochs, as long as before
    assert curves(tmp_path)[: len(first)] == first


def kill_at(process: BaseProcess, curve: Path, step: int) -> None:
    """Send SIGKILL as soon as the curve has reached a step."""
    deadline = time.monotonic() + 120
    while process.is_alive() and time.monotonic() < deadline:
        lines = curve.read_text().splitlines() if curve.is_file() else []
        if lines[1:] and int(lines[-1].split(",")[1] or -1) >= step:
            break
        time.sleep(0.002)
    process.kill()
    process.join()
    assert process.exitcode == -signal.SIGKILL


@pytest.mark.slow
@pytest.mark.parametrize(
    ("experiment", "curve", "kills", "more"),
    [
        ("partial_mean_teacher", "metrics.csv", 2, ("patches.workers=1",)),
        ("pseudo_label", "stages/1/metrics.csv", 1, ()),
    ],
)
def test_sigkill(
    experiment: str,
    curve: str,
    kills: int,
    more: tuple[str, ...],
    configured: Callable[..., DictConfig],
    tiny: Callable[..., list[str]],
    uninterrupted: Callable[..., Path],
    tmp_path: Path,
) -> None:
    settings = (experiment, "trainer.max_epochs=6", "checkpoint.every_steps=3")
    expected = uninterrupted(*settings)
    run = tmp_path / "run"
    rng = random.Random(f"{experiment} {curve}")
    arguments = [*tiny(*settings, *more), f"hydra.run.dir={run}"]
    steps = sorted(rng.sample(range(1, 20), kills))
    for step in steps:
        kill_at(start_command("train", *arguments, cwd=tmp_path), run / curve, step)
        arguments = [f"resume={run}"]
    status, said = run_command("train", *arguments, cwd=tmp_path)
    assert status == 0, said
    assert_same_runs(expected, run)
