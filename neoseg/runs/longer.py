"""Detect trainings that ended too early, and finished runs that are resumed for longer."""

import logging
from collections.abc import Sequence
from pathlib import Path

from neoseg.configuration.run import RunConfig
from neoseg.findings.command_line import again, command, override
from neoseg.foreign import CONFIG, ForeignError, read_config
from neoseg.runs.folder import RECORD
from neoseg.tracking.curves import METRICS, CurveLogger
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
        earlier_epochs, earlier_time = trainer.get("max_epochs"), trainer.get("max_time")
    except (ForeignError, KeyError, AttributeError):
        return False
    longer = (run.trainer.max_epochs or 0) > (earlier_epochs or 0)
    return (folder / RECORD).is_file() and (
        longer or earlier_time not in (None, run.trainer.max_time)
    )
