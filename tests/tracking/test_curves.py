"""Waiting times: what the clock of the curves counts, and the mean over a whole training."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from neoseg.tracking import METRICS, curves
from neoseg.tracking.curves import CurveLogger, StepCurves, mean_times


class Clock:
    """A clock that is set by hand."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 100.0
        monkeypatch.setattr(curves.time, "perf_counter", lambda: self.now)


def trainer(path: Path, every: int) -> Any:
    return SimpleNamespace(
        global_step=0,
        log_every_n_steps=every,
        callback_metrics={},
        current_epoch=0,
        loggers=[CurveLogger(path)],
        optimizers=[SimpleNamespace(param_groups=[{"lr": 0.1}])],
    )


def train(clock: Clock, at: Any, waits: list[float], step: float, callback: StepCurves) -> None:
    """Run an epoch whose batches come after `waits` and take `step` seconds."""
    callback.on_train_epoch_start(at, None)
    for wait in waits:
        clock.now += wait
        callback.on_train_batch_start(at, None, 0)
        clock.now += step
        at.global_step += 1
        callback.on_train_batch_end(at, None, None, None, 0)
    callback.on_train_epoch_end(at, None)


def test_waiting_is_the_time_without_a_batch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock, callback = Clock(monkeypatch), StepCurves()
    at = trainer(tmp_path / METRICS, every=2)
    callback.on_train_start(at, None)
    train(clock, at, [3.0, 1.0], 4.0, callback)
    clock.now += 1000.0  # validation
    train(clock, at, [0.0, 0.0], 2.0, callback)
    rows = at.loggers[0].rows
    assert [row["time/data_wait_share"] for row in rows] == pytest.approx([4 / 12, 0.0])
    assert [row["time/step_seconds"] for row in rows] == pytest.approx([6.0, 2.0])
    # Long steps count more: 4 of 16 seconds, not the mean of a third and nothing.
    assert mean_times(tmp_path / METRICS) == {"data_wait_share": 0.25, "step_seconds": 4.0}


def test_a_training_goes_on_in_the_same_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock, path = Clock(monkeypatch), tmp_path / METRICS
    for waits in ([1.0], [0.0]):
        callback = StepCurves()
        at = trainer(path, every=1)
        at.global_step = int(waits == [0.0])
        callback.on_train_start(at, None)
        train(clock, at, waits, 1.0, callback)
    assert mean_times(path) == {
        "data_wait_share": pytest.approx(1 / 3, abs=1e-4),
        "step_seconds": 1.5,
    }


@pytest.mark.parametrize("text", [None, "epoch,step,lr\n0,9,0.1\n"])
def test_what_was_not_measured_is_not_known(tmp_path: Path, text: str | None) -> None:
    if text is not None:
        (tmp_path / METRICS).write_text(text)
    assert mean_times(tmp_path / METRICS) == {"data_wait_share": None, "step_seconds": None}


@pytest.mark.parametrize(
    ("damage", "kept"),
    [
        (b"0,1,2.0\n0,2,1", 1),
        (b"0,1,2.0\n\0\0\0\0\0\n0,3,1.0\n", 2),
        (b"0,1,2.0\n0,x,1.0\n", 1),
        (b"0,1,2.0\n0,2,1.0,7,7\n", 1),
        (b"0,1,\xff\xfe\n", 1),
    ],
)
def test_damaged_lines_do_not_count(tmp_path: Path, damage: bytes, kept: int) -> None:
    path = tmp_path / METRICS
    path.write_bytes(b"epoch,step,train/loss\n" + damage)
    logger = CurveLogger(path)
    logger.rewind(9)
    assert len(path.read_text().splitlines()) == 1 + kept
    path.write_bytes(b"\0" * 50 + b"\n")
    CurveLogger(path).rewind(9)
    assert not path.exists()
