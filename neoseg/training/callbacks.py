"""What a run writes and shows while it trains."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import lightning as L
from lightning.pytorch.callbacks import (
    Callback,
    EarlyStopping,
    LearningRateMonitor,
    ModelCheckpoint,
    RichProgressBar,
    TQDMProgressBar,
)
from rich.console import Console

from neoseg.training.module import MONITOR

CHECKPOINTS = "checkpoints"
LAST = "last.ckpt"


class StepTimes(Callback):
    """Logs how long a step waits for its batch, as a share of the whole step."""

    def __init__(self) -> None:
        self._end: float | None = None
        self._waited = self._total = 0.0
        self._start = 0.0

    def on_train_batch_start(self, trainer: L.Trainer, *_: Any) -> None:
        """Note when the batch arrived."""
        self._start = time.perf_counter()
        if self._end is not None:
            self._waited += self._start - self._end

    def on_train_batch_end(self, trainer: L.Trainer, module: L.LightningModule, *_: Any) -> None:
        """Log the share since the last time."""
        now = time.perf_counter()
        if self._end is not None:
            self._total += now - self._end
        self._end = now
        if self._total > 0 and trainer.global_step % trainer.log_every_n_steps == 0:  # type: ignore[attr-defined]
            module.log("time/data_wait_share", self._waited / self._total)
            self._waited = self._total = 0.0

    def on_train_epoch_end(self, *_: Any) -> None:
        """Leave validation out of the count."""
        self._end = None


def make_callbacks(run: Path, early_stopping: int | None, progress: bool) -> list[Callback]:
    """Return the callbacks of a training run in `run`.

    `checkpoints/last.ckpt` is replaced, whole, after every validation; nothing else piles up.
    """
    callbacks: list[Callback] = [
        ModelCheckpoint(
            dirpath=run / CHECKPOINTS,
            filename=Path(LAST).stem,
            every_n_epochs=1,
            save_on_train_epoch_end=True,
            enable_version_counter=False,
        ),
        LearningRateMonitor(logging_interval="step"),
        StepTimes(),
    ]
    if early_stopping is not None:
        callbacks.append(EarlyStopping(MONITOR, mode="max", patience=early_stopping))
    if progress:
        callbacks.append(
            RichProgressBar() if Console().is_terminal else TQDMProgressBar(refresh_rate=50)
        )
    return callbacks
