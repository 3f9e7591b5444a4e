"""Learning-rate range test: the loss while the rate grows from step to step (Smith 2017)."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import pandas as pd
import torch
from lightning.pytorch.callbacks import Callback
from matplotlib.figure import Figure
from scipy.ndimage import gaussian_filter1d
from torch.optim import Optimizer

from neoseg.files import replacing, write_figure

LOWEST, HIGHEST = 1e-6, 1.0
"""Range of learning rates tested."""

FEWEST_STEPS = 20
WIDTH = 0.03
"""Standard deviation of the Gaussian that smooths the curve, as a fraction of the steps."""

SMOOTHING = 0.9
DIVERGED = 4.0
"""The test ends when the running mean of the loss exceeds its minimum by this factor."""


class RateTest(Callback):
    """Raise the learning rate before each optimizer step and record the loss of the step.

    The rates of schedules are overwritten. The test ends early if the loss diverges.
    """

    def __init__(self, steps: int) -> None:
        self.steps = steps
        self.losses: list[float] = []
        self._batches: list[float] = []

    @property
    def rates(self) -> list[float]:
        """Learning rates of the completed steps."""
        return [self.rate(step) for step in range(len(self.losses))]

    def rate(self, step: int) -> float:
        """Return the learning rate of a step: a geometric series from `LOWEST` to `HIGHEST`."""
        return LOWEST * math.pow(HIGHEST / LOWEST, step / (self.steps - 1))

    def on_before_optimizer_step(
        self, trainer: L.Trainer, module: L.LightningModule, optimizer: Optimizer
    ) -> None:
        """Set the learning rate of this step."""
        for group in optimizer.param_groups:
            group["lr"] = self.rate(len(self.losses))

    def on_train_batch_end(self, trainer: L.Trainer, module: L.LightningModule, *_: Any) -> None:
        """Record the loss, averaged over accumulated batches."""
        self._batches.append(float(trainer.callback_metrics["train/loss"]))
        if trainer.global_step == len(self.losses):  # gradients accumulate
            return
        # Averaged over ranks, which have to stop together.
        loss = torch.tensor(np.mean(self._batches), device=trainer.strategy.root_device)
        self.losses.append(float(trainer.strategy.reduce(loss.float(), reduce_op="mean")))
        self._batches = []
        curve = running_mean(self.losses)
        diverged = not math.isfinite(curve[-1]) or curve[-1] > DIVERGED * np.nanmin(curve) > 0
        trainer.should_stop = diverged or len(self.losses) == self.steps


@dataclass(frozen=True)
class RateCurve:
    """Result of a range test: rates, losses and smoothed losses of the completed steps."""

    rates: Sequence[float]
    losses: Sequence[float]

    @property
    def smooth(self) -> np.ndarray:
        """Smoothed losses, NaN from the first non-finite one on.

        The filter is centred, so that the curve does not lag behind the rate.
        """
        losses = np.asarray(self.losses, dtype=float)
        finite = np.logical_and.accumulate(np.isfinite(losses))
        result = np.full(len(losses), np.nan)
        if finite.any():
            width = len(losses) * WIDTH
            result[finite] = gaussian_filter1d(losses[finite], width, mode="nearest")
        return result

    @property
    def suggestion(self) -> float | None:
        """The rate at which the smoothed loss falls fastest per decade, before its minimum.

        None if it falls by less than one percent.
        """
        curve = self.smooth
        curve = curve[np.isfinite(curve)]
        last = int(np.argmin(curve)) if len(curve) else 0
        if last < 2 or curve[last] > 0.99 * curve[0]:
            return None
        slope = np.gradient(curve, np.log(self.rates[: len(curve)]))[: last + 1]
        return float(self.rates[int(np.argmin(slope))])

    def write(self, table: Path, picture: Path, title: str) -> None:
        """Write the curve as CSV and PNG."""
        columns = {"lr": self.rates, "loss": self.losses, "smoothed": self.smooth}
        with replacing(table) as temporary:
            pd.DataFrame(columns).to_csv(temporary, index=False)
        figure = Figure(figsize=(6, 4), layout="constrained")
        axes = figure.add_subplot()
        axes.plot(self.rates, self.losses, color="0.75", linewidth=1, label="loss")
        axes.plot(self.rates, self.smooth, color="C0", label="smoothed")
        if self.suggestion is not None:
            axes.axvline(self.suggestion, color="C3", label=f"suggested: {self.suggestion:.1e}")
        axes.set(xscale="log", xlabel="learning rate", ylabel="training loss", title=title)
        axes.legend()
        write_figure(picture, figure, dpi=150)


def running_mean(losses: Sequence[float]) -> np.ndarray:
    """Return the bias-corrected exponential moving average of the losses."""
    mean, result = 0.0, []
    for number, loss in enumerate(losses, start=1):
        mean = SMOOTHING * mean + (1 - SMOOTHING) * loss
        result.append(mean / (1 - SMOOTHING**number))
    return np.array(result)
