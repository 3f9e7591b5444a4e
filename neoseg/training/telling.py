"""What a training says: a line an epoch, signs of life in between, and a picture of its curves."""

from __future__ import annotations

import logging
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

import lightning as L
from lightning.pytorch.callbacks import Callback, RichProgressBar
from matplotlib import colormaps
from matplotlib.figure import Figure

from neoseg.files import replacing
from neoseg.findings.faults import note_in_files
from neoseg.tracking.curves import CurveLogger
from neoseg.training.module import MONITOR

log = logging.getLogger(__name__)

PICTURE = "curves.png"
SHARE = 0.02
"""Of the time, at most, that drawing takes."""

MOST_NAMES = 16
"""Curves of a picture that are named."""

REFRESH = 1.0
"""Seconds between two looks at what a bar shows beside the steps."""

SOON, LATE = 10.0, 600.0
"""Seconds after which the first step is told, and at most between two lines of a long epoch."""


class Telling(Callback):
    """Logs a line an epoch: mean loss of its steps, validation Dice, seconds a step, time left.

    A long epoch is told of at growing distances. Beside a bar the lines go into the log file alone.
    """

    def __init__(self, bar: bool = False) -> None:
        self.bar = bar
        self._begin = self._epoch = self._next = 0.0
        self._pause = SOON
        self._at = self._steps = self._all = 0
        self._trained = 0.0
        self._loss: Any = 0.0

    def on_train_start(self, trainer: L.Trainer, *_: Any) -> None:
        """Tell how much there is to do."""
        self._begin = self._epoch = time.perf_counter()
        self._all = 0
        self._next, self._pause = self._begin + SOON, SOON
        steps = int(trainer.num_training_batches)
        self._say(trainer, f"training: {trainer.max_epochs} epochs of {steps} steps")

    def on_train_epoch_start(self, *_: Any) -> None:
        """Begin to count."""
        self._epoch, self._steps, self._loss = time.perf_counter(), 0, 0.0

    def on_train_batch_end(
        self, trainer: L.Trainer, module: Any, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Count the step, and tell of it where nothing was told for long."""
        now = time.perf_counter()
        self._steps, self._all = self._steps + 1, self._all + 1
        self._at = batch_idx + 1  # more than are counted where a run went on within the epoch
        self._trained = now - self._epoch
        self._loss = (
            self._loss + outputs["loss"].detach()
        )  # not looked at: that would wait for a GPU
        if now >= self._next and self._at < trainer.num_training_batches:
            self._tell(trainer)

    def on_train_epoch_end(self, trainer: L.Trainer, *_: Any) -> None:
        """Tell of the epoch and its validation."""
        self._tell(trainer, ended=True)

    def _tell(self, trainer: L.Trainer, ended: bool = False) -> None:
        now, steps = time.perf_counter(), int(trainer.num_training_batches)
        self._pause = SOON if ended else min(3 * self._pause, LATE)
        self._next = now + self._pause
        if not trainer.is_global_zero or not self._steps:
            return
        every = trainer.accumulate_grad_batches  # by which Lightning has divided
        parts = [f"loss {float(self._loss) * every / self._steps:.4f}"]
        dice = trainer.callback_metrics.get(MONITOR)
        if ended and dice is not None:
            parts.append(f"Dice {float(dice):.4f}")
        parts.append(f"{self._trained / self._steps:.2f} s a step")
        missing = ((trainer.max_epochs or 0) - trainer.current_epoch) * steps - self._at
        left = timedelta(seconds=round((now - self._begin) / self._all * max(missing, 0)))
        epoch = f"epoch {trainer.current_epoch + 1}/{trainer.max_epochs}"
        self._say(trainer, f"{epoch}, step {self._at}/{steps}: {', '.join(parts)}, {left} left")

    def _say(self, trainer: L.Trainer, text: str) -> None:
        if not trainer.is_global_zero:
            return
        if not self.bar:
            log.info("%s", text)
            return
        note_in_files(log.makeRecord(log.name, logging.INFO, __file__, 0, text, (), None))


class Bar(RichProgressBar):
    """Asks for losses and Dice once a second; asked in each step, a GPU would stand idle."""

    def __init__(self) -> None:
        super().__init__()
        self._asked = -REFRESH
        self._shown: dict[str, Any] = {}

    def get_metrics(self, trainer: L.Trainer, pl_module: L.LightningModule) -> dict[str, Any]:
        """Return what is shown beside the steps."""
        if time.perf_counter() - self._asked >= REFRESH:
            self._shown = super().get_metrics(trainer, pl_module)
            self._asked = time.perf_counter()
        return self._shown


class CurvePicture(Callback):
    """Draws `curves.png` after each epoch, where that costs little, and at the end."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._next = 0.0

    def on_train_epoch_end(self, trainer: L.Trainer, *_: Any) -> None:
        """Draw, where the last picture took a small share of the time since then."""
        if time.perf_counter() >= self._next:
            self._draw(trainer)

    def on_train_end(self, trainer: L.Trainer, *_: Any) -> None:
        """Draw all."""
        self._draw(trainer)

    def _draw(self, trainer: L.Trainer) -> None:
        rows = next((x.rows for x in trainer.loggers if isinstance(x, CurveLogger)), [])
        if not trainer.is_global_zero or not rows:
            return
        begin = time.perf_counter()
        try:
            draw_curves(rows, self.path)
        except OSError as error:  # a full disk ends the training where the checkpoint needs it
            log.warning("%s could not be drawn: %s", self.path, error)
        now = time.perf_counter()
        self._next = now + (now - begin) / SHARE


def draw_curves(rows: list[dict[str, float]], path: Path) -> None:
    """Draw losses and validation Dice over the steps, from the rows of a `metrics.csv`."""
    figure = Figure(figsize=(11, 3.6), layout="constrained")
    names = sorted({name for row in rows for name in row})
    parts = {"training loss": "train/", "validation Dice": "val/dice"}
    for axes, (title, prefix) in zip(figure.subplots(1, 2), parts.items(), strict=True):
        found = [name for name in names if name.startswith(prefix)]
        axes.set_prop_cycle(color=[colormaps["tab20"](number) for number in range(20)])
        for name in found:
            points = [(row["step"] + 1, row[name]) for row in rows if name in row]
            whole = name in ("train/loss", MONITOR)
            label = name if whole or len(found) <= MOST_NAMES else None
            style: dict[str, Any] = (
                {"lw": 2, "color": "black", "zorder": 3} if whole else {"lw": 1, "alpha": 0.7}
            )
            style |= {"marker": "."} if len(points) < 50 else {}
            axes.plot(*zip(*points, strict=True), label=label, **style)
        axes.set(title=title, xlabel="step")
        axes.grid(alpha=0.3)
        if found:
            axes.legend(fontsize=7, loc="upper left", bbox_to_anchor=(1, 1))
    with replacing(path) as draft:
        figure.savefig(draft, dpi=100)
