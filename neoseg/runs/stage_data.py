"""The prepared data that a stage of a run trains on."""

from neoseg.cohort import Plan
from neoseg.cohort.folds import fold_of_each, without_fold
from neoseg.configuration.run import RunConfig
from neoseg.patches.datamodule import MixedDataModule
from neoseg.progress import progress_bar
from neoseg.training.recipe import Stage


def prepared_data(run: RunConfig, plan: Plan, stage: Stage, with_teacher: bool) -> MixedDataModule:
    """Return the prepared data of a stage, without its pseudo-labels."""
    if stage.data != "all":  # the codebook does not change
        plan = plan.keeping(lambda item: item.split != "train" or item.stream == "full")
    if stage.fold is not None:
        folds = fold_of_each(plan, run.recipe.folds, run.recipe.draw)
        plan = without_fold(plan, folds, stage.fold)
    data = prepared(run, plan, with_teacher)
    data.first_step = stage.first_step(run.patches.steps_per_epoch)
    return data


def prepared(run: RunConfig, plan: Plan, with_teacher: bool) -> MixedDataModule:
    """Return the prepared data of a plan, without test scans if the run will not score any."""
    if not run.score:
        plan = plan.keeping(lambda item: item.split != "test")
    with progress_bar("prepare", total=len(plan.assignments)) as bar:
        data = run.data(plan, with_teacher, bar.advance)
        data.prepare_data()
    data.progress = None
    return data
