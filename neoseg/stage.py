"""One stage of a run: a training in a folder of its own, which goes on where it was interrupted."""

from __future__ import annotations

import json
import logging
import warnings
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import lightning as L
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from neoseg import __version__
from neoseg.assembly import ConfigError, data_of, module_of, settings_of
from neoseg.config import plain
from neoseg.data import needs_prediction
from neoseg.data.datamodule import Annotated, MixedDataModule
from neoseg.files import write_text
from neoseg.inference import Provenance, PseudoLabeller
from neoseg.loading import load_module, segmenter_of
from neoseg.progress import progress_bar
from neoseg.training import SegmentationModule
from neoseg.training.callbacks import make_callbacks
from neoseg.training.checkpoint import CHECKPOINTS, LAST, CheckpointSettings
from neoseg.training.loggers import WandbSettings, close_wandb, make_loggers
from neoseg.training.recipe import RecipeSettings, Stage

log = logging.getLogger(__name__)

REFUSED = {
    "val_check_interval": "set patches.steps_per_epoch, the steps between two validations",
    "max_steps": "set trainer.max_epochs, whose epochs have patches.steps_per_epoch steps",
}
"""Keys of the trainer with which a run could not be resumed exactly, and what to use instead."""


@dataclass(frozen=True)
class Trained:
    """What a stage hands on."""

    module: SegmentationModule
    trainer: L.Trainer


def run_stage(
    config: DictConfig, run: Path, annotated: Annotated, stage: Stage, before: Stage | None
) -> Trained | None:
    """Train one stage of the run in folder `run`; None for an earlier stage that has ended already.

    Raises:
        ConfigError: keys that the trainer does not know or that resuming forbids.
    """
    marker = stage.marker(run)
    if not stage.last and marker.is_file():
        return None
    recipe = settings_of(RecipeSettings, config, "recipe")
    if recipe.kind != "single":
        log.info("stage %d: %s", stage.number, "pseudo-labels" if before else "first training")
    trainer = _trainer(config, run, stage)
    module = module_of(config, annotated)
    codes = stage.pseudo_labels(run)
    if before is not None and codes is not None:
        teacher = load_module(before.folder(run), str(trainer.strategy.root_device))
        _predict(config, run, annotated, teacher, recipe.min_confidence, codes)
        module.load_state_dict(teacher.state_dict())
        del teacher

    seen = annotated if stage.data == "all" else _fully_labelled(annotated)
    data = _prepared(config, seen, module.teacher is not None)
    data.first_step = stage.first_step(config.patches.steps_per_epoch)
    data.pseudo_labels = codes
    checkpoint = stage.folder(run) / CHECKPOINTS / LAST
    found = checkpoint.is_file()
    if found:
        log.info("going on from %s", checkpoint)
    try:
        with warnings.catch_warnings():
            # The sampler starts at the right step; Lightning cannot know.
            warnings.filterwarnings("ignore", message="You're resuming from a checkpoint that")
            trainer.fit(module, data, ckpt_path=checkpoint if found else None, weights_only=True)
    finally:
        close_wandb()
    if not stage.last and trainer.is_global_zero and not trainer.interrupted:
        record = {"steps": trainer.global_step, "epochs": trainer.current_epoch}
        write_text(marker, json.dumps(record) + "\n")
    return Trained(module, trainer)


def _predict(
    config: DictConfig,
    run: Path,
    annotated: Annotated,
    teacher: SegmentationModule,
    min_confidence: float,
    codes: Path,
) -> None:
    """Fill in what the annotations of the training scans leave open."""
    data = _prepared(config, annotated, teacher_view=False)
    data.setup()
    scans = [scan for scan in data.train if needs_prediction(scan, annotated.codebook)]
    limit = data.store.settings.locations
    labeller = PseudoLabeller(segmenter_of(teacher), annotated.codebook, min_confidence, limit)
    with progress_bar("label", total=len(scans)) as bar:
        provenance = Provenance("neoseg", __version__, run.name)
        labeller.label(scans, codes, run / "pseudo_labels", provenance, bar.advance)


def _prepared(config: DictConfig, annotated: Annotated, teacher_view: bool) -> MixedDataModule:
    needed = sum(item.split != "test" for item in annotated.assignments)
    with progress_bar("prepare", total=needed) as bar:
        data = data_of(config, annotated, teacher_view, bar.advance)
        data.prepare_data()
    data.progress = None
    return data


def _fully_labelled(annotated: Annotated) -> Annotated:
    """Leave out the training scans that are not fully labelled; the codebook stays."""
    kept = (a for a in annotated.assignments if a.split != "train" or a.stream == "full")
    return replace(annotated, assignments=tuple(kept))


def _trainer(config: DictConfig, run: Path, stage: Stage) -> L.Trainer:
    arguments: dict[str, Any] = plain(config.trainer)
    for key, instead in REFUSED.items():
        if arguments.get(key) is not None:
            raise ConfigError(f"trainer.{key} is {arguments[key]}; {instead}")
    if stage.epochs is not None:
        arguments["max_epochs"] = stage.epochs
    hydra = HydraConfig.get() if HydraConfig.initialized() else None
    sweeping = hydra is not None and hydra.mode is not None and hydra.mode.name == "MULTIRUN"
    group = str(config.sweep) if sweeping else None
    name, wandb = str(config.name), WandbSettings(**plain(config.logger.wandb))
    folder = stage.folder(run)
    folder.mkdir(parents=True, exist_ok=True)
    callbacks = make_callbacks(
        folder,
        settings_of(CheckpointSettings, config, "checkpoint"),
        config.seed,
        stage.first_step(config.patches.steps_per_epoch),
        config.early_stopping,
        bool(arguments.get("enable_progress_bar", True)),
    )
    try:
        return L.Trainer(
            **arguments,
            default_root_dir=folder,
            logger=make_loggers(folder, run, wandb, name, group, plain(config)),
            callbacks=callbacks,
            use_distributed_sampler=False,  # the sampler shares the items out itself
            enable_model_summary=False,
        )
    except TypeError as error:
        raise ConfigError(
            f"trainer has a key that lightning.Trainer does not know: {error}"
        ) from None
