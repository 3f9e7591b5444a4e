"""One stage of a run: a training in a folder of its own, resumed where it was interrupted."""

import logging
import warnings
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

import lightning as L
from lightning.fabric.utilities.exceptions import MisconfigurationException

from neoseg.cohort import Plan
from neoseg.configuration.run import RunConfig
from neoseg.doctor.examination import findings_of_plan
from neoseg.files import write_json
from neoseg.findings.command_line import override
from neoseg.findings.settings import ConfigError
from neoseg.inference.checkpoint import (
    CHECKPOINTS,
    LAST,
    CheckpointError,
    predicting_checkpoint,
    read_checkpoint,
)
from neoseg.networks.wide_end import wide_end
from neoseg.own_code import write_code
from neoseg.patches.datamodule import MixedDataModule
from neoseg.processes import is_first_process
from neoseg.runs.people import write_images
from neoseg.runs.pseudo_labels import make_pseudo_labels
from neoseg.runs.stage_data import prepared_data
from neoseg.runs.start import require_unseen, warm_start
from neoseg.runs.trainer import stage_trainer
from neoseg.store.leaks import warn_of_twins
from neoseg.tracking.loggers import close_runs
from neoseg.training.checkpoint import LastCheckpoint
from neoseg.training.module import SegmentationModule
from neoseg.training.recipe import Stage

log = logging.getLogger(__name__)

RESUMABLE = frozenset({"loops", "callbacks", "optimizer_states", "lr_schedulers", "global_step"})
"""Entries of a checkpoint that are needed to resume a training, besides the weights."""


def run_stage(
    run: RunConfig, folder: Path, plan: Plan, stage: Stage, before: Sequence[Stage]
) -> tuple[SegmentationModule, L.Trainer] | None:
    """Train one stage of a run in its folder; return None for an earlier stage that is finished.

    The W&B run of the last stage is left open for the scores. The networks of the stages in
    `before` make the pseudo-labels of this one, which starts from the weights of the network with
    the same member number.

    Raises:
        ConfigError: keys that the trainer does not accept or that must not change on resuming.
        SIGTERMException: a signal ended the training; the last step is saved.
    """
    if not stage.last and stage.marker(folder).is_file():
        return None
    if run.recipe.kind != "single":
        log.info("stage %s: %s", stage.name, _purpose(run, stage))
    trainer = stage_trainer(run, folder, stage)
    L.seed_everything(stage.initial_seed(run.seed), workers=True, verbose=False)
    module = run.module(plan)
    if warning := wide_end(module.network, module.head.channels):
        log.warning("%s", warning)
    if is_first_process():
        write_code(folder, run.allow)
    codes = stage.pseudo_labels(folder)
    checkpoint = stage.folder(folder) / CHECKPOINTS / LAST
    resuming = checkpoint.is_file()
    # A resumed run must not depend on the network of `init_from`, which may be gone by then.
    if codes is not None and not (resuming and not before and run.recipe.asks_source):
        make_pseudo_labels(run, folder, plan, before, codes, trainer.strategy.root_device, resuming)
        if before:
            _load_weights(module, predicting_checkpoint(before[stage.member].folder(folder)))

    data = prepared_data(run, plan, stage, module.objective.needs_teacher)
    augment = data.augment
    require_unseen(run, folder, data.members)
    if stage.data == "all" and stage.fold is None and is_first_process():
        write_images(folder, data.members)
        if not resuming:
            _warn_of_data(data, run.recipe.asks_source)
            objective = module.objective
            if codes is None and not (objective.needs_teacher or objective.needs_peer):
                _warn_of_unlabelled(plan, run.patches.mix)
            if run.recipe.kind != "folds":  # whose stages follow that warning
                warn_of_twins(data.members)
    if data.with_teacher and augment.teacher == "same" and not augment.changes_intensities:
        log.warning("augment changes no intensities: student and teacher see the very same patch")
    data.pseudo_labels = codes
    if not resuming and not before:
        warm_start(run, folder, module)
    if resuming:
        require_fitting(checkpoint, module)
        log.info("going on from %s", checkpoint)
    _fit(trainer, module, data, checkpoint if resuming else None)
    if not stage.last:
        close_runs(trainer.loggers)
    if not stage.last and trainer.is_global_zero and not trainer.interrupted:
        record = {"steps": trainer.global_step, "epochs": trainer.current_epoch}
        write_json(stage.marker(folder), record)
    if stage.last and not trainer.interrupted:
        _load_best(stage.folder(folder), module)
    return module, trainer


def _purpose(run: RunConfig, stage: Stage) -> str:
    """Return what a stage of a recipe of several trains with."""
    if run.recipe.kind == "folds":
        return "all subjects" if stage.fold is None else f"without fold {stage.fold + 1}"
    return "pseudo-labels" if stage.predicts else "first training"


def _warn_of_data(data: MixedDataModule, has_labels_of_source: bool) -> None:
    """Log what the examination of the prepared scans finds.

    Structures that no annotation shows are nothing to tell if another network labels scans.
    """
    spatial = data.augment.spatial
    mirrored = spatial is not None and spatial.flip > 0
    for problem in findings_of_plan(data.annotated, data.store, mirrored):
        if not (has_labels_of_source and problem.kind == "leaf-never-shown"):
            log.warning("%s", problem)


def _warn_of_unlabelled(plan: Plan, mix: Mapping[str, float] | None) -> None:
    """Warn of scans without labels in a training that compares with no other network."""
    counts = Counter(item.stream for _, item in plan.of_split("train"))
    labelled = ", ".join(f"{name}: {n}" for name, n in counts.items() if name != "unlabelled")
    if counts["unlabelled"] and labelled and (mix is None or mix.get("unlabelled")):
        log.warning(
            "%d training scans have no labels, and patches are drawn from them in vain: no loss "
            "compares with a teacher or a second network. Leave them out, %s, or choose an "
            "experiment that learns from them, such as partial_mean_teacher",
            counts["unlabelled"],
            override("patches.mix", f"{{{labelled}}}")
            if mix is None
            else override("patches.mix.unlabelled", 0),
        )


def _fit(
    trainer: L.Trainer, module: SegmentationModule, data: MixedDataModule, checkpoint: Path | None
) -> None:
    """Train from a checkpoint or from the start; tell the loggers if that fails."""
    try:
        with warnings.catch_warnings():
            # Lightning is unaware that the sampler starts at the right step.
            warnings.filterwarnings("ignore", message="You're resuming from a checkpoint that")
            trainer.fit(module, data, ckpt_path=checkpoint, weights_only=True)
        for callback in trainer.checkpoint_callbacks:
            if isinstance(callback, LastCheckpoint):
                callback.end_if_asked(trainer)
    except BaseException as error:
        close_runs(trainer.loggers, failed=True)
        if isinstance(error, MisconfigurationException):
            raise ConfigError(f"Lightning refuses the training: {error}") from error
        raise


def _load_best(folder: Path, module: SegmentationModule) -> None:
    """Load the weights with which the run predicts into the module, unless they are the last."""
    path = predicting_checkpoint(folder)
    if path.name == LAST:
        return
    _load_weights(module, path)
    log.info("predicting with %s, the weights of the best validation Dice", path)


def _load_weights(module: SegmentationModule, path: Path) -> None:
    try:
        module.load_state_dict(read_checkpoint(path, within=path.parents[1])["state_dict"])
    except CheckpointError as error:
        raise ConfigError(f"{error}; delete it to predict with {CHECKPOINTS}/{LAST}") from None


def require_fitting(checkpoint: Path, module: SegmentationModule) -> None:
    """Raise `ConfigError` for a checkpoint from which this network cannot resume."""
    try:
        content = read_checkpoint(checkpoint, RESUMABLE, checkpoint.parents[1])
    except CheckpointError as error:
        raise ConfigError(f"{error}; delete it to train this stage again from its start") from None
    saved = {name: tuple(value.shape) for name, value in content["state_dict"].items()}
    ours = {name: tuple(value.shape) for name, value in module.state_dict().items()}
    differing = sorted(name for name in saved | ours if saved.get(name) != ours.get(name))
    if differing:
        name = differing[0]
        raise ConfigError(
            f"{checkpoint} holds another network: {len(differing)} of {len(saved | ours)} weights "
            f"differ, such as {name}, {saved.get(name, 'absent')} there and "
            f"{ours.get(name, 'absent')} here; bring network, head, loss and teacher back to what "
            "they were, or start a run in a new folder"
        )
