"""Detect trainings that ended too early, and finished runs that are resumed for longer."""

import logging
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from neoseg.configuration.run import RunConfig
from neoseg.findings.command_line import again, command, override
from neoseg.foreign import CONFIG, ForeignError, read_config, read_json
from neoseg.runs.folder import RECORD
from neoseg.tracking import METRICS
from neoseg.tracking.curves import CurveLogger
from neoseg.training.module import MONITOR
from neoseg.training.recipe import stages_of

log = logging.getLogger(__name__)

RISE = 0.005
"""Smallest gain in validation Dice between the last two fifths of a training that is reported."""

MIN_VALIDATIONS = 4
"""Smallest number of validations from which a gain is computed."""


def rise(values: Sequence[float]) -> float:
    """Return the mean gain of the last fifth of values over the fifth before; 0 if too few."""
    part = max(1, len(values) // 5)
    if len(values) < MIN_VALIDATIONS:
        return 0.0
    return (sum(values[-part:]) - sum(values[-2 * part : -part])) / part


def advise_on_length(run: RunConfig, folder: Path, epochs: int) -> None:
    """Log how to continue a training that hit its time limit, or whose validation Dice still rose.

    Args:
        run: that has been trained.
        folder: of the run.
        epochs: number of completed epochs.
    """
    own = stages_of(run.recipe)[-1].epochs
    wanted = own or run.trainer.max_epochs or epochs
    if epochs < wanted and run.trainer.max_time is not None and run.early_stopping is None:
        more = (override("trainer.max_time", "null"), *again(run.allow))
        line = command("train", override("resume", folder), *more)
        log.warning(
            "trainer.max_time ended the training after %d of %d epochs; to go on: %s",
            *(epochs, wanted, line),
        )
        return
    curve = [row[MONITOR] for row in CurveLogger(folder / METRICS).rows if MONITOR in row]
    gain = rise([value for value in curve if value == value])
    if epochs < wanted or gain < RISE or own:
        return
    overrides = [override("resume", folder), override("trainer.max_epochs", 2 * wanted)]
    log.warning(
        "the validation Dice still rose when the training ended, by %.3f from one fifth of the "
        "epochs to the next; twice as many: %s",
        *(gain, command("train", *overrides, *again(run.allow))),
    )


def goes_on(run: RunConfig, folder: Path) -> bool:
    """Return whether a finished run is configured with more epochs or more time than it had."""
    try:
        trainer = read_config(folder / CONFIG)["trainer"]
        earlier_epochs = trainer.get("max_epochs")
    except (ForeignError, KeyError, AttributeError):
        return False
    longer = (run.trainer.max_epochs or 0) > (earlier_epochs or 0)
    return (folder / RECORD).is_file() and (longer or _has_other_time(run, trainer))


def _has_other_time(run: RunConfig, trainer: Mapping[str, Any]) -> bool:
    return trainer.get("max_time") not in (None, run.trainer.max_time)


def ended_by_time(run: RunConfig, folder: Path) -> list[str]:
    """Report that a run ended before its last step by another time limit than is configured."""
    try:
        trainer = read_config(folder / CONFIG)["trainer"]
        steps = int(read_json(folder / RECORD, within=folder)["steps"])
        has_other_time = _has_other_time(run, trainer)
    except (ForeignError, OSError, KeyError, AttributeError, TypeError, ValueError):
        return []
    per_epoch = math.ceil(run.patches.steps_per_epoch / run.trainer.accumulate_grad_batches)
    wanted = per_epoch * (stages_of(run.recipe)[-1].epochs or run.trainer.max_epochs or 0)
    if steps >= wanted or run.early_stopping is not None or not has_other_time:
        return []
    now: object = "null" if run.trainer.max_time is None else run.trainer.max_time
    if isinstance(now, Mapping):
        now = f"{{{', '.join(f'{unit}: {number}' for unit, number in now.items())}}}"
    more = (override("trainer.max_time", now), *again(run.allow))
    return [
        f"trainer.max_time was {trainer['max_time']} in the run, which ended after {steps} of "
        f"{wanted} steps, and is {now} now; to go on: "
        + command("train", override("resume", folder), *more)
    ]
