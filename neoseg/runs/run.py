"""One run from configuration to scores; its folder is the truth."""

from __future__ import annotations

import logging
from pathlib import Path

import lightning as L
from omegaconf import DictConfig, OmegaConf

from neoseg.cohort import Plan, read_plan, write_plan, write_splits
from neoseg.configuration.assembly import annotated_of, space_of, split_of, usable_cohort_of
from neoseg.configuration.config import settings_of
from neoseg.files import write_text
from neoseg.findings.settings import ConfigError
from neoseg.preflight import check_plan
from neoseg.progress import progress_bar
from neoseg.runs.effort import Effort, effort_counted
from neoseg.runs.find_rate import find_rate
from neoseg.runs.folder import CONFIG, claimed
from neoseg.runs.record import conclude, finished_dice
from neoseg.runs.resume import warn_of_changes
from neoseg.runs.stage import run_stage
from neoseg.training.failure import failure_noted
from neoseg.training.loggers import close_mirrors
from neoseg.training.recipe import RecipeSettings, before, stages_of

log = logging.getLogger(__name__)


def train(config: DictConfig, folder: Path) -> float:
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
        return _train(config, folder, effort)


def _train(config: DictConfig, folder: Path, effort: Effort) -> float:
    stages = stages_of(settings_of(RecipeSettings, config, "recipe"))
    L.seed_everything(config.seed, workers=True, verbose=False)
    annotated = _planned(config, folder)
    if config.get("find_lr") is not None:  # runs of older versions have no such key
        find_rate(config, folder, annotated, stages[0])
        return float("nan")
    trained = None
    for stage in stages:
        trained = run_stage(config, folder, annotated, stage, before(stage, stages))
    assert trained is not None  # the last stage is never skipped
    try:
        if trained.trainer.interrupted or not trained.trainer.is_global_zero:
            return float("nan")
        return conclude(config, folder, trained.module, annotated, trained.trainer, effort)
    except BaseException:
        close_mirrors(trained.trainer.loggers, failed=True)
        raise
    finally:
        close_mirrors(trained.trainer.loggers)


def _planned(config: DictConfig, folder: Path) -> Plan:
    """Read the cohorts, plan who is annotated how, and write both with the configuration.

    Raises:
        ConfigError: the plan is no longer that with which the run started.
    """
    with progress_bar("phantom") as bar:
        cohort = usable_cohort_of(config, space_of(config), bar.update_to)
    split = split_of(config, cohort)
    annotated = annotated_of(config, cohort, split)
    check_plan(config, annotated)
    plan = folder / "annotation.csv"
    if plan.is_file() and read_plan(plan, cohort.name) != annotated.assignments:
        raise ConfigError(
            f"{plan} says who was annotated how when the run started, and the cohort, split or "
            "annotation gives another plan now; bring them back, or start a run in a new folder"
        )
    OmegaConf.resolve(config)
    warn_of_changes(config, folder)
    write_text(folder / CONFIG, OmegaConf.to_yaml(config))
    write_splits(folder / "split.csv", [(s.split, s.cohort.scans) for s in annotated.sources])
    write_plan(plan, annotated.assignments)
    return annotated
