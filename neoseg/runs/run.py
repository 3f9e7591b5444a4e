"""One run from configuration to scores; its folder is the truth."""

from __future__ import annotations

import logging
from pathlib import Path

import lightning as L
import yaml

from neoseg.cohort import Plan
from neoseg.cohort.annotation import read_plan, write_plan
from neoseg.cohort.split import write_splits
from neoseg.configuration.resume import warn_of_changes
from neoseg.configuration.run import RunConfig
from neoseg.files import write_text
from neoseg.findings.settings import ConfigError
from neoseg.foreign import CONFIG
from neoseg.runs.effort import Effort, effort_counted
from neoseg.runs.find_rate import find_rate
from neoseg.runs.folder import claimed
from neoseg.runs.record import conclude, finished_dice
from neoseg.runs.stage import run_stage
from neoseg.training.failure import failure_noted
from neoseg.training.loggers import close_wandb_runs
from neoseg.training.recipe import before, stages_of

log = logging.getLogger(__name__)


def train(run: RunConfig, folder: Path) -> float:
    """Run one job in `folder`, all stages of its recipe; return the mean test Dice over leaves.

    A folder that holds a finished run is left as it is; one that was interrupted, however hard,
    goes on from its last checkpoint to the same end. With `find_lr` the learning rates are tested
    and nothing is trained.

    Raises:
        ConfigError, CohortError, DataError, ...: errors for the person who has to act.
        SIGTERMException: the machine asked for an end; the last step is saved.
    """
    dice = finished_dice(folder)
    if dice is not None:
        return dice
    with claimed(folder), failure_noted(folder), effort_counted(folder) as effort:
        return _train(run, folder, effort)


def _train(run: RunConfig, folder: Path, effort: Effort) -> float:
    stages = stages_of(run.recipe)
    L.seed_everything(run.seed, workers=True, verbose=False)
    plan = planned(run, folder)
    if run.find_lr is not None:
        find_rate(run, folder, plan, stages[0])
        return float("nan")
    trained = None
    for stage in stages:
        trained = run_stage(run, folder, plan, stage, before(stage, stages))
    assert trained is not None  # the last stage is never skipped
    module, trainer = trained
    try:
        if trainer.interrupted or not trainer.is_global_zero:
            return float("nan")
        return conclude(run, folder, module, plan, trainer, effort)
    except BaseException:
        close_wandb_runs(trainer.loggers, failed=True)
        raise
    finally:
        close_wandb_runs(trainer.loggers)


def planned(run: RunConfig, folder: Path) -> Plan:
    """Read the cohorts, plan who is annotated how, and write both with the configuration.

    A plan that is no longer that with which the run started raises `ConfigError`.
    """
    plan = run.plan()
    path = folder / "annotation.csv"
    if path.is_file() and read_plan(path, plan.sources[0].cohort.name) != plan.assignments:
        raise ConfigError(
            f"{path} says who was annotated how when the run started, and the cohort, split or "
            "annotation gives another plan now; bring them back, or start a run in a new folder"
        )
    warn_of_changes(run.content, folder)
    text = yaml.safe_dump(run.content, sort_keys=False, allow_unicode=True)
    write_text(folder / CONFIG, text)
    write_splits(folder / "split.csv", [(s.split, s.cohort.scans) for s in plan.sources])
    write_plan(path, plan.assignments)
    return plan
