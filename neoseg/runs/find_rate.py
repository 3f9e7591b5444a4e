"""A learning-rate test instead of a training: `python -m neoseg.train ... find_lr=100`."""

import logging
import math
from pathlib import Path

import lightning as L
from lightning.pytorch.callbacks import Callback, TQDMProgressBar

from neoseg.cohort import Plan
from neoseg.configuration.run import RunConfig
from neoseg.files import write_json
from neoseg.runs.stage_data import prepared_data
from neoseg.runs.start import warm_start
from neoseg.runs.trainer import make_trainer
from neoseg.training.checkpoint import StepSeed
from neoseg.training.rate import RateCurve, RateTest
from neoseg.training.recipe import Stage

log = logging.getLogger(__name__)

NAME = "learning_rate"


def find_rate(run: RunConfig, folder: Path, plan: Plan, stage: Stage) -> float | None:
    """Test learning rates on the data of a stage; return the suggestion, or None.

    Writes `learning_rate.png`, `.csv` and `.json` into the run folder, and no checkpoint: the run
    can be trained there afterwards as if it had not been tested.

    Raises:
        ConfigError: a trainer that cannot be built.
    """
    assert run.find_lr is not None
    test = RateTest(run.find_lr)
    arguments = run.trainer.arguments()
    callbacks: list[Callback] = [StepSeed(run.seed, 0), test]
    if run.trainer.enable_progress_bar:
        callbacks.append(TQDMProgressBar(refresh_rate=10))
    batches = run.find_lr * run.trainer.accumulate_grad_batches
    arguments |= {
        "max_epochs": math.ceil(batches / run.patches.steps_per_epoch),
        "limit_val_batches": 0,
        "num_sanity_val_steps": 0,
        "enable_checkpointing": False,
    }
    trainer = make_trainer(arguments, run.patches.batch_size, folder, callbacks, [])
    L.seed_everything(run.seed, workers=True, verbose=False)
    module = run.module(plan)
    warm_start(run, folder, module)
    data = prepared_data(run, plan, stage, module.objective.needs_teacher)
    trainer.fit(module, data)
    curve = RateCurve(test.rates, test.losses)
    suggestion = curve.suggestion
    if trainer.is_global_zero:
        picture = folder / f"{NAME}.png"
        curve.write(folder / f"{NAME}.csv", picture, run.name)
        record = {"suggestion": suggestion, "steps": len(test.losses), "lr": run.optimizer.lr}
        write_json(folder / f"{NAME}.json", record, indent=1)
        if suggestion is None:
            log.warning("the loss fell at no learning rate: no suggestion, see %s", folder)
        else:
            current = run.optimizer.lr
            log.info(
                "suggested: optimizer.lr=%.1e (now %.1e), see %s", suggestion, current, picture
            )
    return suggestion
