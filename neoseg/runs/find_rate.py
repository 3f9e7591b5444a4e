"""A learning-rate test in place of a training: `python -m neoseg.train ... find_lr=100`."""

from __future__ import annotations

import json
import logging
import math
from pathlib import Path
from typing import Any

import lightning as L
from lightning.pytorch.callbacks import Callback, TQDMProgressBar
from omegaconf import DictConfig

from neoseg.cohort import Plan
from neoseg.configuration.assembly import module_of
from neoseg.configuration.config import plain
from neoseg.files import write_text
from neoseg.findings.settings import ConfigError
from neoseg.runs.stage import prepared_data
from neoseg.runs.trainer import make_trainer
from neoseg.training.checkpoint import StepSeed
from neoseg.training.rate import FEWEST_STEPS, RateCurve, RateTest
from neoseg.training.recipe import Stage

log = logging.getLogger(__name__)

NAME = "learning_rate"


def find_rate(config: DictConfig, run: Path, annotated: Plan, stage: Stage) -> float | None:
    """Test learning rates on the data of a stage; return the suggestion, None where there is none.

    Writes `learning_rate.png`, `.csv` and `.json` into the run folder, and no checkpoint: the run
    can be trained there afterwards, as if it had not been tested.

    Raises:
        ConfigError: too few steps, or a trainer that cannot be built.
    """
    steps = config.find_lr
    if not isinstance(steps, int) or steps < FEWEST_STEPS:
        raise ConfigError(
            f"find_lr is {steps!r}, expected null or a number of steps from {FEWEST_STEPS} up"
        )
    test = RateTest(steps)
    arguments: dict[str, Any] = plain(config.trainer)
    callbacks: list[Callback] = [StepSeed(config.seed, 0), test]
    if arguments.get("enable_progress_bar", True):
        callbacks.append(TQDMProgressBar(refresh_rate=10))
    accumulated = int(arguments.get("accumulate_grad_batches", 1))
    epochs = math.ceil(steps * accumulated / config.patches.steps_per_epoch)
    changed: dict[str, Any] = {
        "max_epochs": epochs,
        "max_time": None,
        "limit_val_batches": 0,
        "num_sanity_val_steps": 0,
        "enable_checkpointing": False,
    }
    trainer = make_trainer(arguments | changed, config.patches.batch_size, run, callbacks, [])
    L.seed_everything(config.seed, workers=True, verbose=False)
    module = module_of(config, annotated)
    data = prepared_data(config, annotated, stage, module.objective.needs_teacher)
    trainer.fit(module, data)
    curve = RateCurve(test.rates, test.losses)
    found = curve.suggestion
    if trainer.is_global_zero:
        curve.write(run / f"{NAME}.csv", run / f"{NAME}.png", str(config.name))
        record = {"suggestion": found, "steps": len(test.losses), "lr": config.optimizer.lr}
        write_text(run / f"{NAME}.json", json.dumps(record, indent=1) + "\n")
        if found is None:
            log.warning("the loss fell at no learning rate: no suggestion, see %s", run)
        else:
            log.info(
                "suggested: optimizer.lr=%.1e (now %.1e), see %s",
                found,
                config.optimizer.lr,
                run / f"{NAME}.png",
            )
    return found
