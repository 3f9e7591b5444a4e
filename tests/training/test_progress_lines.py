"""What a training says where nobody sees a bar, and the picture of its curves."""

from __future__ import annotations

import logging
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from PIL import Image

from neoseg.tracking import METRICS
from neoseg.tracking.curves import CurveLogger
from neoseg.training import progress_lines
from neoseg.training.progress_lines import Bar, CurvePicture, ProgressLines, draw_curves


class Clock:
    """A clock that is set by hand."""

    now = 100.0

    def perf_counter(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    found = Clock()
    monkeypatch.setattr(progress_lines, "time", found)
    return found


def trainer(steps: int, epochs: int, **more: Any) -> Any:
    plain = {"is_global_zero": True, "current_epoch": 0, "accumulate_grad_batches": 1}
    plain |= {"callback_metrics": {}, "num_training_batches": steps, "max_epochs": epochs}
    return SimpleNamespace(**plain | more)


def epoch(
    at: Any, callback: ProgressLines, clock: Clock, seconds: float, loss: float = 1.0
) -> None:
    callback.on_train_epoch_start(at, None)
    for step in range(at.num_training_batches):
        clock.now += seconds
        outputs = {"loss": torch.tensor(loss + step)}
        callback.on_train_batch_end(at, None, outputs, None, step)
    clock.now += 3.0  # validation
    at.callback_metrics["val/dice"] = torch.tensor(0.5)
    callback.on_train_epoch_end(at, None)
    at.current_epoch += 1


def test_a_bar_asks_for_losses_once_a_second(clock: Clock) -> None:
    asked: list[float] = []

    class Metrics(SimpleNamespace):
        @property
        def progress_bar_metrics(self) -> dict[str, float]:
            asked.append(clock.now)
            return {"train/loss": clock.now}

    at, bar = Metrics(loggers=[]), Bar()
    for _ in range(9):
        shown = bar.get_metrics(at, None)  # type: ignore[arg-type]
        clock.now += 0.25
    assert asked == [100.0, 101.0, 102.0]
    assert shown == {"train/loss": 102.0}


def test_a_line_an_epoch(caplog: pytest.LogCaptureFixture, clock: Clock) -> None:
    caplog.set_level(logging.INFO)
    at, callback = trainer(2, 3), ProgressLines()
    callback.on_train_start(at, None)
    epoch(at, callback, clock, 0.5)
    epoch(at, callback, clock, 1.5, loss=0.0)
    assert caplog.messages == [
        "training: 3 epochs of 2 steps",
        "epoch 1/3, step 2/2: loss 1.5000, Dice 0.5000, 0.50 s a step, 0:00:08 left",
        "epoch 2/3, step 2/2: loss 0.5000, Dice 0.5000, 1.50 s a step, 0:00:05 left",
    ]


def test_a_run_that_goes_on_within_an_epoch_counts_from_there(
    caplog: pytest.LogCaptureFixture, clock: Clock
) -> None:
    """Of 5 epochs of 100 steps the last 20 of the second are done, in a second each."""
    caplog.set_level(logging.INFO)
    at, callback = trainer(100, 5, current_epoch=1), ProgressLines()
    callback.on_train_start(at, None)
    callback.on_train_epoch_start(at, None)
    for step in range(80, 100):
        clock.now += 1.0
        callback.on_train_batch_end(at, None, {"loss": torch.tensor(1.0)}, None, step)
    callback.on_train_epoch_end(at, None)
    assert caplog.messages[1:] == [
        "epoch 2/5, step 90/100: loss 1.0000, 1.00 s a step, 0:05:10 left",
        "epoch 2/5, step 100/100: loss 1.0000, 1.00 s a step, 0:05:00 left",
    ]


def test_a_long_epoch_is_told_of_ever_less_often(
    caplog: pytest.LogCaptureFixture, clock: Clock
) -> None:
    caplog.set_level(logging.INFO)
    at, callback = trainer(3600, 1), ProgressLines()
    callback.on_train_start(at, None)
    epoch(at, callback, clock, 1.0)
    steps = [int(text.split("step ")[1].split("/")[0]) for text in caplog.messages[1:]]
    assert steps == [10, 40, 130, 400, 1000, 1600, 2200, 2800, 3400, 3600]
    assert "Dice" not in caplog.messages[1]
    assert caplog.messages[1].endswith("0:59:50 left")


def test_only_the_first_process_speaks_and_gradients_add_up(
    caplog: pytest.LogCaptureFixture, clock: Clock
) -> None:
    caplog.set_level(logging.INFO)
    at, callback = trainer(2, 1, is_global_zero=False), ProgressLines()
    callback.on_train_start(at, None)
    epoch(at, callback, clock, 1.0)
    assert not caplog.messages
    at = trainer(2, 1, accumulate_grad_batches=2)
    epoch(at, callback, clock, 1.0, loss=0.5)
    assert "loss 2.0000" in caplog.messages[0]


def test_beside_a_bar_the_lines_go_into_the_file(tmp_path: Path, clock: Clock) -> None:
    file = logging.FileHandler(tmp_path / "train.log")
    logging.getLogger().addHandler(file)
    seen: list[str] = []
    screen = logging.StreamHandler()
    screen.emit = lambda record: seen.append(record.getMessage())  # type: ignore[method-assign]
    logging.getLogger().addHandler(screen)
    try:
        at, callback = trainer(1, 1), ProgressLines(bar=True)
        callback.on_train_start(at, None)
        epoch(at, callback, clock, 1.0)
    finally:
        logging.getLogger().removeHandler(file)
        logging.getLogger().removeHandler(screen)
        file.close()
    assert "epoch 1/1" in (tmp_path / "train.log").read_text()
    assert not seen


ROWS = [
    {"epoch": 0, "step": step, "train/loss": 1.0 / (step + 1), "train/iuc": 0.5}
    | ({"val/dice": 0.1 * step, "val/dice/cGM": 0.05 * step} if step % 2 else {})
    for step in range(6)
]


def test_curves_are_drawn_from_the_rows(tmp_path: Path) -> None:
    draw_curves(ROWS[:1], tmp_path / "a.png")
    draw_curves(ROWS, tmp_path / "b.png")
    with Image.open(tmp_path / "a.png") as one, Image.open(tmp_path / "b.png") as all_of_them:
        assert one.size == all_of_them.size == (1100, 360)
        assert one.tobytes() != all_of_them.tobytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.png", "b.png"]


def test_drawing_takes_a_small_share_of_the_time(
    tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: list[float] = []

    def draw(rows: Any, path: Path) -> None:
        drawn.append(clock.now)
        clock.now += 1.0
        if len(drawn) == 2:
            raise OSError("No space left on device")

    monkeypatch.setattr(progress_lines, "draw_curves", draw)
    logger = CurveLogger(tmp_path / METRICS)
    at, callback = trainer(1, 1, loggers=[logger]), CurvePicture(tmp_path / "curves.png")
    for epoch in range(12):
        logger.log_metrics({"epoch": epoch, "train/loss": 1.0}, step=epoch)
        callback.on_train_epoch_end(at, None)
        clock.now += 10.0
    assert drawn == [100.0, 151.0, 202.0]
    callback.on_train_end(at, None)
    assert len(drawn) == 4
    callback.on_train_end(at, None)  # nothing is new
    assert len(drawn) == 4
