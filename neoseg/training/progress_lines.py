"""Progress messages of a training: log lines and a picture of its curves."""

import logging
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

import lightning as L
from lightning.pytorch.callbacks import Callback, RichProgressBar
from matplotlib import colormaps
from matplotlib.figure import Figure

from neoseg.files import write_figure
from neoseg.findings.faults import note_in_files
from neoseg.tracking.curves import CurveLogger
from neoseg.training.module import MONITOR

log = logging.getLogger(__name__)

PICTURE = "curves.png"
MAX_DRAWING_SHARE = 0.02
"""Largest fraction of the training time spent on drawing."""

MAX_LABELS = 16
"""Largest number of curves per panel that get a legend entry each."""

REFRESH_SECONDS = 1.0
"""Seconds between two updates of the metrics in the progress bar."""

FIRST_PAUSE, MAX_PAUSE = 10.0, 600.0
"""Seconds to the first line within an epoch, and the longest between two lines."""


class ProgressLines(Callback):
    """Log one line per epoch: mean training loss, validation Dice, seconds per step, time left.

    A long epoch logs further lines at growing intervals. With a progress bar the lines go to the
    log file only.
    """

    def __init__(self, bar: bool = False) -> None:
        self.bar = bar
        self._begin = self._epoch = self._next = 0.0
        self._pause = FIRST_PAUSE
        self._position = self._steps = self._total_steps = 0
        self._training_seconds = 0.0
        self._loss: Any = 0.0

    def on_train_start(self, trainer: L.Trainer, *_: Any) -> None:
        """Log the length of the training."""
        self._begin = self._epoch = time.perf_counter()
        self._total_steps = 0
        self._next, self._pause = self._begin + FIRST_PAUSE, FIRST_PAUSE
        steps = int(trainer.num_training_batches)
        self._log(trainer, f"training: {trainer.max_epochs} epochs of {steps} steps")

    def on_train_epoch_start(self, *_: Any) -> None:
        """Reset the counters of the epoch."""
        self._epoch, self._steps, self._loss = time.perf_counter(), 0, 0.0

    def on_train_batch_end(
        self, trainer: L.Trainer, module: Any, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Count the step, and log a line if the last one is long ago."""
        now = time.perf_counter()
        self._steps, self._total_steps = self._steps + 1, self._total_steps + 1
        self._position = batch_idx + 1  # exceeds `_steps` if the run was resumed within the epoch
        self._training_seconds = now - self._epoch
        # Kept on the device, since reading it would wait for the GPU.
        self._loss = self._loss + outputs["loss"].detach()
        if now >= self._next and self._position < trainer.num_training_batches:
            self._report(trainer)

    def on_train_epoch_end(self, trainer: L.Trainer, *_: Any) -> None:
        """Log the epoch and its validation."""
        self._report(trainer, ended=True)

    def _report(self, trainer: L.Trainer, ended: bool = False) -> None:
        now, steps = time.perf_counter(), int(trainer.num_training_batches)
        self._pause = FIRST_PAUSE if ended else min(3 * self._pause, MAX_PAUSE)
        self._next = now + self._pause
        if not trainer.is_global_zero or not self._steps:
            return
        every = trainer.accumulate_grad_batches  # Lightning has divided by it
        parts = [f"loss {float(self._loss) * every / self._steps:.4f}"]
        dice = trainer.callback_metrics.get(MONITOR)
        if ended and dice is not None:
            parts.append(f"Dice {float(dice):.4f}")
        parts.append(f"{self._training_seconds / self._steps:.2f} s a step")
        todo = ((trainer.max_epochs or 0) - trainer.current_epoch) * steps - self._position
        left = timedelta(seconds=round((now - self._begin) / self._total_steps * max(todo, 0)))
        epoch = f"epoch {trainer.current_epoch + 1}/{trainer.max_epochs}"
        self._log(
            trainer, f"{epoch}, step {self._position}/{steps}: {', '.join(parts)}, {left} left"
        )

    def _log(self, trainer: L.Trainer, text: str) -> None:
        if not trainer.is_global_zero:
            return
        if not self.bar:
            log.info("%s", text)
            return
        note_in_files(log.makeRecord(log.name, logging.INFO, __file__, 0, text, (), None))


class Bar(RichProgressBar):
    """Progress bar that updates its metrics once a second: reading them every step stalls a GPU."""

    def __init__(self) -> None:
        super().__init__()
        self._refreshed = -REFRESH_SECONDS
        self._metrics: dict[str, Any] = {}

    def get_metrics(self, trainer: L.Trainer, pl_module: L.LightningModule) -> dict[str, Any]:
        """Return the metrics shown beside the steps."""
        if time.perf_counter() - self._refreshed >= REFRESH_SECONDS:
            self._metrics = super().get_metrics(trainer, pl_module)
            self._refreshed = time.perf_counter()
        return self._metrics


class CurvePicture(Callback):
    """Draw `curves.png` at the end, and after each epoch if drawing is cheap enough."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._next = 0.0
        self._drawn: tuple[int, dict[str, float]] | None = None

    def on_train_epoch_end(self, trainer: L.Trainer, *_: Any) -> None:
        """Draw, if the last drawing took a small fraction of the time since then."""
        if time.perf_counter() >= self._next:
            self._draw(trainer)

    def on_train_end(self, trainer: L.Trainer, *_: Any) -> None:
        """Draw the complete curves, unless the last epoch did."""
        self._draw(trainer)

    def _draw(self, trainer: L.Trainer) -> None:
        rows = next((x.rows for x in trainer.loggers if isinstance(x, CurveLogger)), [])
        if not trainer.is_global_zero or not rows:
            return
        content = len(rows), rows[-1]  # rows are only added
        if content == self._drawn:
            return
        begin = time.perf_counter()
        try:
            draw_curves(rows, self.path)
            self._drawn = content
        except OSError as error:  # a full disk stops the training at its checkpoint, not here
            log.warning("%s could not be drawn: %s", self.path, error)
        now = time.perf_counter()
        self._next = now + (now - begin) / MAX_DRAWING_SHARE


def draw_curves(rows: list[dict[str, float]], path: Path) -> None:
    """Draw losses and validation Dice over steps, from the rows of `metrics.csv`."""
    figure = Figure(figsize=(11, 3.6), layout="constrained")
    names = sorted({name for row in rows for name in row})
    panels = {"training loss": "train/", "validation Dice": "val/dice"}
    for axes, (title, prefix) in zip(figure.subplots(1, 2), panels.items(), strict=True):
        curves = [name for name in names if name.startswith(prefix)]
        axes.set_prop_cycle(color=[colormaps["tab20"](number) for number in range(20)])
        for name in curves:
            points = [(row["step"] + 1, row[name]) for row in rows if name in row]
            overall = name in ("train/loss", MONITOR)
            label = name if overall or len(curves) <= MAX_LABELS else None
            style: dict[str, Any] = (
                {"lw": 2, "color": "black", "zorder": 3} if overall else {"lw": 1, "alpha": 0.7}
            )
            style |= {"marker": "."} if len(points) < 50 else {}
            axes.plot(*zip(*points, strict=True), label=label, **style)
        axes.set(title=title, xlabel="step")
        axes.grid(alpha=0.3)
        if curves:
            axes.legend(fontsize=7, loc="upper left", bbox_to_anchor=(1, 1))
    write_figure(path, figure, dpi=100)
