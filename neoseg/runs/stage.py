"""One stage of a run: a training in a folder of its own, which goes on where it was interrupted."""

from __future__ import annotations

import json
import logging
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import lightning as L
from omegaconf import DictConfig

from neoseg import __version__
from neoseg.cohort import Plan
from neoseg.configuration.assembly import data_of, module_of
from neoseg.configuration.config import settings_of
from neoseg.files import write_text
from neoseg.findings.settings import ConfigError
from neoseg.inference import Provenance, PseudoLabeller
from neoseg.patches import needs_prediction
from neoseg.patches.datamodule import MixedDataModule
from neoseg.progress import progress_bar
from neoseg.runs.loading import load_module, predicting_checkpoint, segmenter_of
from neoseg.runs.trainer import stage_trainer
from neoseg.training import SegmentationModule
from neoseg.training.checkpoint import CHECKPOINTS, LAST, CheckpointError, read_checkpoint
from neoseg.training.loggers import close_mirrors
from neoseg.training.recipe import RecipeSettings, Stage

log = logging.getLogger(__name__)

RESUMABLE = frozenset({"loops", "callbacks", "optimizer_states", "lr_schedulers", "global_step"})
"""What a checkpoint needs for a training to go on, beside the weights."""


@dataclass(frozen=True)
class Trained:
    """What a stage hands on."""

    module: SegmentationModule
    trainer: L.Trainer


def run_stage(
    config: DictConfig, run: Path, annotated: Plan, stage: Stage, before: Sequence[Stage]
) -> Trained | None:
    """Train one stage of the run in folder `run`; None for an earlier stage that has ended already.

    The W&B run of the last stage is left open for the scores.

    Args:
        config: of the run.
        run: its folder.
        annotated: the plan of who is annotated how.
        stage: what to train.
        before: the stages whose networks predict for this one, the one that it goes on from at
            the place of its member.

    Raises:
        ConfigError: keys that the trainer does not know or that resuming forbids.
    """
    if not stage.last and stage.marker(run).is_file():
        return None
    recipe = settings_of(RecipeSettings, config, "recipe")
    if recipe.kind != "single":
        log.info("stage %s: %s", stage.name, "pseudo-labels" if before else "first training")
    trainer = stage_trainer(config, run, stage)
    L.seed_everything(stage.initial_seed(config.seed), workers=True, verbose=False)
    module = module_of(config, annotated)
    codes = stage.pseudo_labels(run)
    if codes is not None:
        device = str(trainer.strategy.root_device)
        teachers = [load_module(earlier.folder(run), device) for earlier in before]
        _predict(config, run, annotated, teachers, recipe.min_confidence, codes)
        module.load_state_dict(teachers[stage.member].state_dict())
        del teachers

    data = prepared_data(config, annotated, stage, module.objective.needs_teacher)
    augment = data.augment
    if data.with_teacher and augment.teacher == "same" and not augment.changes_intensities:
        log.warning("augment changes no intensities: student and teacher see the very same patch")
    data.pseudo_labels = codes
    checkpoint = stage.folder(run) / CHECKPOINTS / LAST
    found = checkpoint.is_file()
    if found:
        require_fitting(checkpoint, module)
        log.info("going on from %s", checkpoint)
    try:
        with warnings.catch_warnings():
            # The sampler starts at the right step; Lightning cannot know.
            warnings.filterwarnings("ignore", message="You're resuming from a checkpoint that")
            trainer.fit(module, data, ckpt_path=checkpoint if found else None, weights_only=True)
    except BaseException:
        close_mirrors(trainer.loggers, failed=True)
        raise
    if not stage.last:
        close_mirrors(trainer.loggers)
    if not stage.last and trainer.is_global_zero and not trainer.interrupted:
        record = {"steps": trainer.global_step, "epochs": trainer.current_epoch}
        write_text(stage.marker(run), json.dumps(record) + "\n")
    if stage.last and not trainer.interrupted:
        _take_best(stage.folder(run), module)
    return Trained(module, trainer)


def _take_best(folder: Path, module: SegmentationModule) -> None:
    """Give the module the weights with which the run predicts, where these are not the last."""
    path = predicting_checkpoint(folder)
    if path.name == LAST:
        return
    try:
        module.load_state_dict(read_checkpoint(path)["state_dict"])
    except CheckpointError as error:
        raise ConfigError(f"{error}; delete it to predict with {CHECKPOINTS}/{LAST}") from None
    log.info("predicting with %s, the weights of the best validation Dice", path)


def require_fitting(checkpoint: Path, module: SegmentationModule) -> None:
    """Raise `ConfigError` for a checkpoint from which this network cannot go on."""
    try:
        content = read_checkpoint(checkpoint, also=RESUMABLE)
    except CheckpointError as error:
        raise ConfigError(f"{error}; delete it to train this stage again from its start") from None
    there = {name: tuple(value.shape) for name, value in content["state_dict"].items()}
    here = {name: tuple(value.shape) for name, value in module.state_dict().items()}
    differing = sorted(name for name in there | here if there.get(name) != here.get(name))
    if differing:
        name = differing[0]
        raise ConfigError(
            f"{checkpoint} holds another network: {len(differing)} of {len(there | here)} weights "
            f"differ, such as {name}, {there.get(name, 'absent')} there and "
            f"{here.get(name, 'absent')} here; bring network, head, loss and teacher back to what "
            "they were, or start a run in a new folder"
        )


def prepared_data(
    config: DictConfig, annotated: Plan, stage: Stage, with_teacher: bool
) -> MixedDataModule:
    """Return the data with which a stage trains, prepared, without its pseudo-labels."""
    seen = annotated if stage.data == "all" else _fully_labelled(annotated)
    data = _prepared(config, seen, with_teacher)
    data.first_step = stage.first_step(config.patches.steps_per_epoch)
    return data


def _predict(
    config: DictConfig,
    run: Path,
    annotated: Plan,
    teachers: Sequence[SegmentationModule],
    min_confidence: float,
    codes: Path,
) -> None:
    """Fill in what the annotations of the training scans leave open."""
    data = _prepared(config, annotated, with_teacher=False)
    data.setup()
    scans = [scan for scan in data.train if needs_prediction(scan, annotated.codebook)]
    segmenters = tuple(segmenter_of(teacher) for teacher in teachers)
    limit = data.store.settings.locations
    labeller = PseudoLabeller(segmenters, annotated.codebook, min_confidence, limit)
    with progress_bar("label", total=len(scans)) as bar:
        provenance = Provenance("neoseg", __version__, run.name)
        for place, source in enumerate(annotated.sources):
            own = [scan for scan in scans if scan.source == place]
            labels = annotated.folder(codes, source)
            shown = annotated.folder(run / "pseudo_labels", source)
            labeller.label(own, labels, shown, provenance, bar.advance)


def _prepared(config: DictConfig, annotated: Plan, with_teacher: bool) -> MixedDataModule:
    if not config.score:  # nothing will read the scans for the test
        annotated = annotated.keeping(lambda item: item.split != "test")
    with progress_bar("prepare", total=len(annotated.assignments)) as bar:
        data = data_of(config, annotated, with_teacher, bar.advance)
        data.prepare_data()
    data.progress = None
    return data


def _fully_labelled(annotated: Plan) -> Plan:
    """Leave out the training scans that are not fully labelled; the codebook stays."""
    return annotated.keeping(lambda item: item.split != "train" or item.stream == "full")
