from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from interruption import assert_same_runs
from lightning.pytorch.utilities.exceptions import SIGTERMException
from omegaconf import DictConfig
from tiny_run import train

from neoseg.training.module import SegmentationModule
from neoseg.training.stopping import StopSignals, Wish, requeue


@pytest.fixture
def trainer() -> Any:
    """One process of two, of which the other has heard nothing."""
    strategy = SimpleNamespace(root_device=torch.device("cpu"), reduce=lambda x, reduce_op: x)
    numbers = (signal.SIGTERM, signal.SIGUSR2, signal.SIGINT, signal.SIGHUP)
    before = {number: signal.getsignal(number) for number in numbers}
    yield SimpleNamespace(world_size=2, strategy=strategy)
    for number, handler in before.items():
        signal.signal(number, handler)


def test_sigterm_ends_a_training_of_several_processes(trainer: Any) -> None:
    signals = StopSignals()
    signals.listen(trainer)
    assert signals.agreed(trainer) is Wish.NOTHING
    os.kill(os.getpid(), signal.SIGTERM)
    assert signals.agreed(trainer) is Wish.SAVE_AND_END


def test_what_another_process_has_heard_counts(trainer: Any) -> None:
    trainer.strategy.reduce = lambda x, reduce_op: torch.full_like(x, Wish.SAVE_AND_END)
    assert StopSignals().agreed(trainer) is Wish.SAVE_AND_END


def test_a_job_of_submitit_saves_on_sigterm_and_ends_on_the_warning(
    trainer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SUBMITIT_EXECUTOR", "slurm")
    signals = StopSignals()
    signals.listen(trainer)
    os.kill(os.getpid(), signal.SIGTERM)
    assert signals.agreed(trainer) is Wish.SAVE
    assert signals.agreed(trainer) is Wish.NOTHING
    os.kill(os.getpid(), signal.SIGUSR2)
    os.kill(os.getpid(), signal.SIGTERM)
    assert signals.agreed(trainer) is Wish.SAVE_AND_END


@pytest.mark.parametrize(
    ("status", "raised"),
    [(-signal.SIGTERM, SystemExit), (1, subprocess.CalledProcessError)],
)
def test_a_job_may_be_put_back_before_the_command_that_asked_for_it_returns(
    trainer: Any, monkeypatch: pytest.MonkeyPatch, status: int, raised: type[BaseException]
) -> None:
    """SLURM ends all processes of the job, and may end scontrol with them."""

    def ask(*_: object) -> None:
        raise subprocess.CalledProcessError(status, ["scontrol", "requeue", "1_0"])

    signal.signal(signal.SIGUSR2, ask)
    monkeypatch.setattr("neoseg.training.stopping.warning_signal", lambda: signal.SIGUSR2)
    with pytest.raises(raised):
        requeue()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGHUP])
def test_a_terminal_ends_it_as_well(trainer: Any, number: signal.Signals) -> None:
    trainer.world_size = 1
    signals = StopSignals()
    signals.listen(trainer)
    os.kill(os.getpid(), number)
    assert signals.agreed(trainer) is Wish.SAVE_AND_END
    with pytest.raises(SIGTERMException) as end:
        signals.end()
    assert end.value.code == number


def test_a_second_ctrl_c_ends_at_once(trainer: Any) -> None:
    StopSignals().listen(trainer)
    os.kill(os.getpid(), signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        os.kill(os.getpid(), signal.SIGINT)


def test_what_is_ignored_stays_so(trainer: Any) -> None:
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # nohup
    StopSignals().listen(trainer)
    assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN


def test_one_process_is_left_to_lightning(trainer: Any) -> None:
    trainer.world_size = 1
    before = signal.getsignal(signal.SIGTERM)
    StopSignals().listen(trainer)
    assert signal.getsignal(signal.SIGTERM) is before


def test_a_warning_within_a_validation_is_obeyed_there(
    configured: Callable[..., DictConfig], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain, calls = SegmentationModule.validation_step, [0]

    def warned(*args: Any) -> Any:
        calls[0] += 1
        if calls[0] == 2:  # the second epoch: there is one scan in val
            os.kill(os.getpid(), signal.SIGUSR2)
        return plain(*args)

    config = configured("supervised")
    with monkeypatch.context() as context:
        context.setenv("SUBMITIT_EXECUTOR", "slurm")
        context.setattr(SegmentationModule, "validation_step", warned)
        before = signal.getsignal(signal.SIGUSR2)
        with pytest.raises(SIGTERMException):
            train(config.copy(), tmp_path / "warned")
        signal.signal(signal.SIGUSR2, before)
    saved = torch.load(tmp_path / "warned/checkpoints/last.ckpt", weights_only=True)
    assert saved["global_step"] == 4  # the epoch before
    for name in ("warned", "whole"):
        train(config.copy(), tmp_path / name)
    assert_same_runs(tmp_path / "whole", tmp_path / "warned")
