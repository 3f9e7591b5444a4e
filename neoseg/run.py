"""One run from configuration to scores; its folder is the truth."""

from __future__ import annotations

import logging
import time
from pathlib import Path

import lightning as L
from omegaconf import DictConfig, OmegaConf

from neoseg.assembly import (
    ConfigError,
    annotated_of,
    cohort_of,
    settings_of,
    space_of,
    split_of,
)
from neoseg.cohort import read_plan, write_plan, write_split
from neoseg.data.datamodule import Annotated
from neoseg.energy import EnergyMeter
from neoseg.files import write_text
from neoseg.find_rate import find_rate
from neoseg.progress import progress_bar
from neoseg.record import conclude, finished_dice
from neoseg.resume import CONFIG, warn_of_changes
from neoseg.stage import run_stage
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
    started = time.time()
    dice = finished_dice(folder)
    if dice is not None:
        return dice
    energy = EnergyMeter()
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
    if trained.trainer.interrupted or not trained.trainer.is_global_zero:
        return float("nan")
    return conclude(config, folder, trained.module, annotated, trained.trainer, started, energy)


def _planned(config: DictConfig, folder: Path) -> Annotated:
    """Read the cohort, plan who is annotated how, and write both with the configuration.

    Raises:
        ConfigError: the plan is no longer that with which the run started.
    """
    with progress_bar("phantom") as bar:
        cohort = cohort_of(config, space_of(config), bar.update_to)
    split = split_of(config, cohort)
    annotated = annotated_of(config, cohort, split)
    plan = folder / "annotation.csv"
    if plan.is_file() and read_plan(plan) != annotated.assignments:
        raise ConfigError(
            f"{plan} says who was annotated how when the run started, and the cohort, split or "
            "annotation gives another plan now; bring them back, or start a run in a new folder"
        )
    OmegaConf.resolve(config)
    warn_of_changes(config, folder)
    write_text(folder / CONFIG, OmegaConf.to_yaml(config))
    write_split(folder / "split.csv", split, cohort.scans)
    write_plan(plan, annotated.assignments)
    return annotated
