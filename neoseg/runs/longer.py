"""Whether a training was long enough, and going on with one that has ended."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

from neoseg.configuration.run import RunConfig
from neoseg.findings.command_line import command, override
from neoseg.foreign import CONFIG, ForeignError, read_config
from neoseg.runs.folder import RECORD
from neoseg.tracking.curves import METRICS, CurveLogger
from neoseg.training.module import MONITOR

log = logging.getLogger(__name__)

RISE = 0.005
"""Dice by which the last fifth of the validations is better than the fifth before it, from which on
a training is said to rise."""

FEWEST = 4
"""Validations before anything is said."""


def rise(values: Sequence[float]) -> float:
    """Return by how much the last fifth of values is above the fifth before it, 0 of too few."""
    part = max(1, len(values) // 5)
    if len(values) < FEWEST:
        return 0.0
    return (sum(values[-part:]) - sum(values[-2 * part : -part])) / part


def tell_whether_longer(run: RunConfig, folder: Path, epochs: int) -> None:
    """Say with which line a training goes on that ended early, or while its validation rose.

    Args:
        run: that has been trained.
        folder: of the run.
        epochs: that are done.
    """
    wanted = run.trainer.max_epochs or epochs
    if epochs < wanted and run.trainer.max_time is not None and run.early_stopping is None:
        line = command("train", override("resume", folder), override("trainer.max_time", "null"))
        log.warning(
            "trainer.max_time ended the training after %d of %d epochs; to go on: %s",
            *(epochs, wanted, line),
        )
        return
    curve = [row[MONITOR] for row in CurveLogger(folder / METRICS).rows if MONITOR in row]
    gained = rise([value for value in curve if value == value])
    if epochs < wanted or gained < RISE:
        return
    more = [override("resume", folder), override("trainer.max_epochs", 2 * wanted)]
    log.warning(
        "the validation Dice still rose when the training ended, by %.3f from one fifth of the "
        "epochs to the next; twice as many: %s",
        *(gained, command("train", *more)),
    )


def goes_on(run: RunConfig, folder: Path) -> bool:
    """Tell whether a run that has ended is asked for more epochs or more time than it had."""
    try:
        trainer = read_config(folder / CONFIG)["trainer"]
        had, time = trainer.get("max_epochs"), trainer.get("max_time")
    except (ForeignError, KeyError, AttributeError):
        return False
    longer = (run.trainer.max_epochs or 0) > (had or 0)
    return (folder / RECORD).is_file() and (longer or time not in (None, run.trainer.max_time))
