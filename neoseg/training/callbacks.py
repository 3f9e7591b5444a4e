"""Callbacks of a training: checkpoints, early stopping, curves and progress."""

from pathlib import Path
from typing import Literal

from lightning.pytorch.callbacks import Callback, EarlyStopping, Timer
from rich.console import Console

from neoseg.inference.checkpoint import BEST, CHECKPOINTS, LAST
from neoseg.tracking.curves import StepCurves
from neoseg.training.best import BestCheckpoint
from neoseg.training.checkpoint import CheckpointSettings, LastCheckpoint, StepSeed
from neoseg.training.module import MONITOR
from neoseg.training.nonfinite import KEPT, NonFiniteLoss
from neoseg.training.progress_lines import PICTURE, Bar, CurvePicture, ProgressLines


def make_callbacks(
    folder: Path,
    settings: CheckpointSettings,
    seed: int,
    first_step: int,
    early_stopping: int | None,
    progress: bool,
    max_time: str | dict[str, int] | None = None,
    on_nan: Literal["stop", "skip"] = "stop",
    max_skipped: int = 10,
) -> list[Callback]:
    """Return the callbacks of a training in `folder`.

    Args:
        folder: gets `checkpoints/last.ckpt`, and `best.ckpt` if the settings say so.
        settings: when they are written.
        seed: of dropout.
        first_step: number of the first batch in the patch stream.
        early_stopping: epochs without a better validation Dice; None trains to the end.
        progress: show a progress bar if there is a terminal; otherwise log a line per epoch.
        max_time: DD:HH:MM:SS, without interruptions; training ends after the epoch in which it has
            passed. Lightning's own limit ends within an epoch, from where a run cannot resume
            exactly.
        on_nan: whether a non-finite loss or gradient stops the training, or its step is left out.
        max_skipped: steps left out of a training; one more stops it.

    Raises:
        MisconfigurationException: a `max_time` in another format.
    """
    callbacks: list[Callback] = [
        StepSeed(seed, first_step),
        NonFiniteLoss(folder / KEPT, on_nan, max_skipped, seed, first_step),
        StepCurves(),
        # Before `LastCheckpoint`, which stores the best value.
        *([BestCheckpoint(folder / CHECKPOINTS / BEST)] if settings.best else []),
        LastCheckpoint(folder / CHECKPOINTS / LAST, settings.every_steps),
    ]
    if early_stopping is not None:
        callbacks.append(EarlyStopping(MONITOR, mode="max", patience=early_stopping))
    if max_time is not None:
        callbacks.append(Timer(max_time, interval="epoch"))
    bar = progress and Console().is_terminal
    callbacks += [ProgressLines(bar), CurvePicture(folder / PICTURE)]
    return [*callbacks, Bar()] if bar else callbacks
