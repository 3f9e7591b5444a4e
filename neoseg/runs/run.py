"""Train and score one run in its folder, from its configuration."""

import logging
from pathlib import Path

import lightning as L
import yaml

from neoseg.cohort import Plan
from neoseg.cohort.annotation import write_plan
from neoseg.cohort.split import write_splits
from neoseg.configuration.run import RunConfig
from neoseg.failure import failure_noted
from neoseg.files import write_text
from neoseg.foreign import CONFIG
from neoseg.inference.checkpoint import CHECKPOINTS, LAST
from neoseg.runs.effort import Effort, effort_counted
from neoseg.runs.find_rate import find_rate
from neoseg.runs.folder import RECORD, claimed
from neoseg.runs.folds import score_out_of_fold
from neoseg.runs.longer import advise_on_length, goes_on
from neoseg.runs.origin import require_same, write_origin
from neoseg.runs.people import PLAN, SPLIT
from neoseg.runs.record import conclude, finished_dice
from neoseg.runs.refused import restored_if_refused
from neoseg.runs.stage import run_stage
from neoseg.runs.stage_data import prepared
from neoseg.runs.start import require_unseen, with_source
from neoseg.runs.start_command import write_command
from neoseg.store.leaks import members_of, told_once, warn_of_twins
from neoseg.store.shared_images import tell_shared_images
from neoseg.tracking.loggers import close_runs
from neoseg.training.recipe import STAGES, before, stages_of

log = logging.getLogger(__name__)


def train(run: RunConfig, folder: Path, resuming: bool = False) -> float:
    """Run one job in `folder`, all stages of its recipe; return the mean test Dice over leaves.

    A folder that holds the same run, finished, is left unchanged, unless it is resumed with more
    epochs or more time. An interrupted run, however it was killed, resumes from its last checkpoint
    with the same final result. With `find_lr` learning rates are tested and nothing is trained.

    Args:
        run: configuration of the run.
        folder: of the run.
        resuming: whether the user asked to resume the run in the folder, even with other settings.

    Raises:
        ConfigError, CohortError, DataError, ...: errors that the user has to resolve.
        SIGTERMException: a signal ended the training; the last step is saved.
    """
    longer = resuming and run.find_lr is None and goes_on(run, folder)
    if (folder / RECORD).is_file() and not longer:  # the folder may be read-only
        return _finished(run, folder)
    with claimed(folder):
        # Another process may have finished the run before releasing the lock.
        if (folder / RECORD).is_file() and not longer:
            return _finished(run, folder)
        unharmed = restored_if_refused(folder, resuming)
        with unharmed, failure_noted(folder), told_once(), effort_counted(folder) as effort:
            return _train(run, folder, resuming, effort)


def _finished(run: RunConfig, folder: Path) -> float:
    dice = finished_dice(folder)
    assert dice is not None
    require_same(run, folder, run.plan())
    log.info("%s is finished already", folder)
    return dice


def _train(run: RunConfig, folder: Path, resuming: bool, effort: Effort) -> float:
    stages = stages_of(run.recipe)
    L.seed_everything(run.seed, workers=True, verbose=False)
    plan = planned(run, folder, resuming)
    if run.find_lr is not None:
        find_rate(run, folder, plan, stages[0])
        return float("nan")
    checkpoints = (stage.folder(folder) / CHECKPOINTS / LAST for stage in stages)
    folds, begun = run.recipe.kind == "folds", any(path.is_file() for path in checkpoints)
    several = len(plan.sources) > 1 and not begun
    if folds or several:  # who shows the same is told before anything is trained
        members = prepared(run, plan, with_teacher=False).members
        if folds:
            warn_of_twins(members)
        if several:
            tell_shared_images(plan, members, run.leaks)
    trained = None
    for stage in stages:
        trained = run_stage(run, folder, plan, stage, before(stage, stages))
    assert trained is not None  # the last stage is never skipped
    module, trainer = trained
    try:
        if trainer.interrupted or not trainer.is_global_zero:
            return float("nan")
        if run.score:
            score_out_of_fold(run, folder, plan, trainer.strategy.root_device)
        dice = conclude(run, folder, module, plan, trainer, effort)
        advise_on_length(run, folder, trainer.current_epoch)
        return dice
    except BaseException:
        close_runs(trainer.loggers, failed=True)
        raise
    finally:
        close_runs(trainer.loggers)


def planned(run: RunConfig, folder: Path, resuming: bool = False) -> Plan:
    """Read the cohorts, plan their annotation, and write both with the configuration.

    A test of learning rates in the folder of a started run writes nothing.

    Raises `ConfigError` if they differ from what the run was started with; see `require_same`.
    """
    plan = run.plan()
    if run.find_lr is not None and (folder / CONFIG).is_file():  # the run there stays as it is
        if not resuming:
            require_same(run, folder, plan)
        return with_source(run, folder, plan)
    if resuming and goes_on(run, folder):
        log.info("%s had ended: it goes on, and is scored again", folder)
        if run.recipe.kind != "single":
            log.warning(
                "only its last training goes on: those in %s, and what was predicted by them, stay "
                "as they are",
                folder / STAGES,
            )
        # Before the configuration is written: from here on the run is unfinished again.
        (folder / RECORD).unlink()
    require_same(run, folder, plan, resuming)
    require_unseen(run, folder, members_of(plan))
    plan = with_source(run, folder, plan)
    text = yaml.safe_dump(run.content, sort_keys=False, allow_unicode=True)
    write_text(folder / CONFIG, text)
    write_splits(folder / SPLIT, [(s.split, s.cohort.scans) for s in plan.sources])
    write_plan(folder / PLAN, plan.assignments, plan.known)
    write_origin(run, folder, plan)
    if not resuming and run.find_lr is None:
        write_command(folder)
    return plan
