"""One stage of a run: a training in a folder of its own, resumed where it was interrupted."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Sequence
from pathlib import Path

import lightning as L
import torch
from lightning.fabric.utilities.exceptions import MisconfigurationException

from neoseg import __version__
from neoseg.cohort import Plan
from neoseg.cohort.folds import fold_of_each, without_fold
from neoseg.configuration.run import RunConfig
from neoseg.digests import digest_of, digest_of_content
from neoseg.doctor.examination import findings_of_plan
from neoseg.files import write_json
from neoseg.findings.problems import shorten
from neoseg.findings.settings import ConfigError
from neoseg.inference.checkpoint import (
    CHECKPOINTS,
    LAST,
    CheckpointError,
    predicting_checkpoint,
    read_checkpoint,
)
from neoseg.inference.dataset import Provenance
from neoseg.inference.segmenter import segmenter_of
from neoseg.inference.trained import TrainedNetwork
from neoseg.labelling.atlas import AtlasLabeller
from neoseg.labelling.pseudo import Labeller, PseudoLabeller
from neoseg.labels import STREAMS
from neoseg.networks.wide_end import wide_end
from neoseg.patches.datamodule import MixedDataModule
from neoseg.patches.pseudo import needs_prediction
from neoseg.processes import is_first_process
from neoseg.progress import progress_bar
from neoseg.runs.people import write_images
from neoseg.runs.start import source_labeller, warm_start
from neoseg.runs.trainer import stage_trainer
from neoseg.tracking.loggers import close_runs
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
    """
    if not stage.last and stage.marker(folder).is_file():
        return None
    if run.recipe.kind != "single":
        description = "pseudo-labels" if stage.predicts else "first training"
        if run.recipe.kind == "folds":
            description = "all subjects" if stage.fold is None else f"without fold {stage.fold + 1}"
        log.info("stage %s: %s", stage.name, description)
    trainer = stage_trainer(run, folder, stage)
    L.seed_everything(stage.initial_seed(run.seed), workers=True, verbose=False)
    module = run.module(plan)
    if warning := wide_end(module.network, module.head.channels):
        log.warning("%s", warning)
    codes = stage.pseudo_labels(folder)
    checkpoint = stage.folder(folder) / CHECKPOINTS / LAST
    resuming = checkpoint.is_file()
    # A resumed run must not depend on the network of `init_from`, which may be gone by then.
    if codes is not None and not (resuming and not before and run.recipe.teacher == "source"):
        _make_pseudo_labels(run, folder, plan, before, codes, trainer.strategy.root_device)
        if before:
            _load_weights(module, predicting_checkpoint(before[stage.member].folder(folder)))

    data = prepared_data(run, plan, stage, module.objective.needs_teacher)
    augment = data.augment
    if stage.data == "all" and stage.fold is None and is_first_process():
        write_images(folder, data.members)
        mirrored = augment.spatial is not None and augment.spatial.flip > 0
        for problem in [] if resuming else findings_of_plan(data.annotated, data.store, mirrored):
            log.warning("%s", problem)
    if data.with_teacher and augment.teacher == "same" and not augment.changes_intensities:
        log.warning("augment changes no intensities: student and teacher see the very same patch")
    data.pseudo_labels = codes
    if not resuming and not before:
        warm_start(run, folder, module)
    if resuming:
        require_fitting(checkpoint, module)
        log.info("going on from %s", checkpoint)
    try:
        with warnings.catch_warnings():
            # Lightning is unaware that the sampler starts at the right step.
            warnings.filterwarnings("ignore", message="You're resuming from a checkpoint that")
            trainer.fit(module, data, ckpt_path=checkpoint if resuming else None, weights_only=True)
    except BaseException as error:
        close_runs(trainer.loggers, failed=True)
        if isinstance(error, MisconfigurationException):
            raise ConfigError(f"Lightning refuses the training: {error}") from error
        raise
    if not stage.last:
        close_runs(trainer.loggers)
    if not stage.last and trainer.is_global_zero and not trainer.interrupted:
        record = {"steps": trainer.global_step, "epochs": trainer.current_epoch}
        write_json(stage.marker(folder), record)
    if stage.last and not trainer.interrupted:
        _load_best(stage.folder(folder), module)
    return module, trainer


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


def prepared_data(run: RunConfig, plan: Plan, stage: Stage, with_teacher: bool) -> MixedDataModule:
    """Return the prepared data of a stage, without its pseudo-labels."""
    if stage.data != "all":  # the codebook does not change
        plan = plan.keeping(lambda item: item.split != "train" or item.stream == "full")
    if stage.fold is not None:
        folds = fold_of_each(plan, run.recipe.folds, run.recipe.draw)
        plan = without_fold(plan, folds, stage.fold)
    data = _prepared(run, plan, with_teacher)
    data.first_step = stage.first_step(run.patches.steps_per_epoch)
    return data


def _make_pseudo_labels(
    run: RunConfig,
    folder: Path,
    plan: Plan,
    before: Sequence[Stage],
    codes: Path,
    device: torch.device,
) -> None:
    """Make pseudo-labels for what the annotations of the training scans leave open."""
    data = _prepared(run, plan, with_teacher=False)
    data.setup()
    scans = [scan for scan in data.train if needs_prediction(scan, plan.codebook)]
    settings = (plan.codebook, run.recipe.min_confidence, data.store.settings.locations)
    labeller: Labeller
    if before:
        teacher_folders = [earlier.folder(folder) for earlier in before]
        teachers = [
            TrainedNetwork.load(path, str(device), allow=run.allow) for path in teacher_folders
        ]
        weights = digest_of_content(
            [digest_of(predicting_checkpoint(path)) for path in teacher_folders]
        )
        segmenters = tuple(segmenter_of(t.spec, t.network, t.device) for t in teachers)
        labeller = PseudoLabeller(*settings, weights, segmenters)
    elif run.recipe.teacher == "source":
        labeller = source_labeller(run, plan, settings, device)
    else:
        atlases = tuple(scan for scan in data.train if STREAMS[scan.stream] == "full")
        if not atlases:
            raise ConfigError(
                "recipe.teacher is atlas, which needs at least one fully labelled training scan, "
                f"found none{_full_elsewhere(plan)}; raise annotation.full_fraction, or choose "
                "recipe.teacher=partial"
            )
        atlas_keys = [[scan.entry.folder.name, scan.visible.lookup.tolist()] for scan in atlases]
        options = (run.recipe.atlases, run.recipe.intensities)
        weights = digest_of_content(["atlas", *options, atlas_keys])
        labeller = AtlasLabeller(*settings, weights, atlases, *options, device)
    with progress_bar("label", total=len(scans)) as bar:
        provenance = Provenance("neoseg", __version__, folder.name)
        for number, source in enumerate(plan.sources):
            source_scans = [scan for scan in scans if scan.source == number]
            labels = plan.folder(codes, source)
            preview_folder = plan.folder(folder / "pseudo_labels", source)
            labeller.label(source_scans, labels, preview_folder, provenance, bar.advance)


def _full_elsewhere(plan: Plan) -> str:
    """Name fully labelled scans outside the training split, and how to move them there."""
    scans = (scan for source in plan.sources for scan in source.cohort.scans)
    subjects = {s.subject for s in scans if s.annotation and s.annotation.stream == "full"}
    if not subjects:
        return ""
    hint = "put some into training with split=file split.file=FILE, or try another split.seed"
    return f" (those of {shorten(sorted(subjects))} are for validation or test: {hint})"


def _prepared(run: RunConfig, plan: Plan, with_teacher: bool) -> MixedDataModule:
    if not run.score:  # test scans will not be needed
        plan = plan.keeping(lambda item: item.split != "test")
    with progress_bar("prepare", total=len(plan.assignments)) as bar:
        data = run.data(plan, with_teacher, bar.advance)
        data.prepare_data()
    data.progress = None
    return data
