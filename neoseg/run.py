"""One training run from configuration to scores; its folder is the truth."""

from __future__ import annotations

import json
import logging
import os
import resource
import sys
import time
from pathlib import Path
from typing import Any

import lightning as L
import torch
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf
from rich.console import Console

from neoseg import __version__
from neoseg.assembly import (
    ConfigError,
    annotated_of,
    cohort_of,
    data_of,
    describe,
    module_of,
    space_of,
    split_of,
)
from neoseg.cohort import write_plan, write_split
from neoseg.config import plain
from neoseg.data import Annotated
from neoseg.evaluation import rich_table, score_scans
from neoseg.files import write_text
from neoseg.inference import Provenance, Segmenter
from neoseg.progress import progress_bar
from neoseg.provenance import git_state, versions
from neoseg.training import SegmentationModule
from neoseg.training.callbacks import CHECKPOINTS, LAST, make_callbacks
from neoseg.training.loggers import WandbSettings, make_loggers

log = logging.getLogger(__name__)


def train(config: DictConfig, folder: Path) -> float:
    """Run one training job in `folder`; return the mean test Dice over leaves.

    A folder that holds a finished run is left as it is, one with a checkpoint goes on from there.

    Raises:
        ConfigError, CohortError, DataError, ...: errors for the person who has to act.
    """
    started = time.time()
    record_path = folder / "run.json"
    if record_path.is_file():
        record = json.loads(record_path.read_text(encoding="utf-8"))
        log.info("%s is finished already (%s); delete it to run it again", folder, record_path)
        return float(record["test_dice"])
    folder.mkdir(parents=True, exist_ok=True)
    checkpoint = folder / CHECKPOINTS / LAST
    if config.resume is not None and not checkpoint.is_file():
        raise ConfigError(f"resume={config.resume} has no {CHECKPOINTS}/{LAST} to go on from")

    L.seed_everything(config.seed, workers=True, verbose=False)
    space = space_of(config)
    with progress_bar("phantom") as bar:
        cohort = cohort_of(config, space, bar.update_to)
    split = split_of(config, cohort)
    annotated = annotated_of(config, cohort, split)
    OmegaConf.resolve(config)
    write_text(folder / "config.yaml", OmegaConf.to_yaml(config))
    write_split(folder / "split.csv", split, cohort.scans)
    write_plan(folder / "annotation.csv", annotated.assignments)

    module = module_of(config, annotated)
    with progress_bar("prepare", total=len(annotated.assignments)) as bar:
        data = data_of(config, annotated, module.teacher is not None, bar.advance)
        data.prepare_data()
    data.progress = None
    trainer = _trainer(config, folder)
    try:
        resume = "an interrupted run" if checkpoint.is_file() else None
        if resume:
            log.info("going on from %s", checkpoint)
        trainer.fit(module, data, ckpt_path=checkpoint if resume else None, weights_only=True)
        if trainer.interrupted or not trainer.is_global_zero:
            return float("nan")
        return _conclude(config, folder, module, annotated, trainer, started)
    finally:
        _close_wandb()


def _trainer(config: DictConfig, folder: Path) -> L.Trainer:
    arguments = plain(config.trainer)
    hydra = HydraConfig.get() if HydraConfig.initialized() else None
    sweeping = hydra is not None and hydra.mode is not None and hydra.mode.name == "MULTIRUN"
    group = str(config.sweep) if sweeping else None
    name, wandb = str(config.name), WandbSettings(**plain(config.logger.wandb))
    progress = bool(arguments.get("enable_progress_bar", True))
    try:
        return L.Trainer(
            **arguments,
            default_root_dir=folder,
            logger=make_loggers(folder, wandb, name, group, plain(config)),
            callbacks=make_callbacks(folder, config.early_stopping, progress),
            use_distributed_sampler=False,  # the sampler shares the items out itself
            enable_model_summary=False,
        )
    except TypeError as error:
        raise ConfigError(f"trainer has a key that lightning.Trainer does not know: {error}") from None


def segmenter_of(module: SegmentationModule, prepare: Any) -> Segmenter:
    """Return what segments scans with a module's predicting network."""
    return Segmenter(module.predictor, module.head, module.window, prepare, module.device)


def _conclude(
    config: DictConfig,
    folder: Path,
    module: SegmentationModule,
    annotated: Annotated,
    trainer: L.Trainer,
    started: float,
) -> float:
    """Score the test scans with the final weights and write the record of the run."""
    dice = float("nan")
    test = [scan for scan, _ in annotated.of_split("test")]
    if config.score and any(scan.label is not None for scan in test):
        if torch.cuda.is_available() and trainer.strategy.root_device.type == "cuda":
            module.to(trainer.strategy.root_device)
        membership = annotated.codebook.membership
        open_somewhere = (membership[module.space.num_leaves + 1 :] == -1).any(axis=0)
        hidden = [
            entry.abbreviation
            for entry, is_open in zip(module.space.classes, open_somewhere, strict=True)
            if is_open
        ]
        from neoseg.data import PrepareSettings

        with progress_bar("score", total=len(test)) as bar:
            table = score_scans(
                segmenter_of(module, PrepareSettings(**plain(config.store))),
                test,
                annotated.cohort.convention,
                folder,
                Provenance("neoseg", __version__, folder.name),
                hidden=hidden,
                pictures=config.pictures,
                progress=bar.advance,
            )
        dice = float(table[table.is_leaf].groupby("abbreviation").dice.mean().mean())
        Console().print(rich_table(table, f"{config.name}: {len(test)} test scans"))
    elif config.score:
        log.warning("no test scan has labels: nothing to score")

    usage = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform != "darwin" else 2**30)
    record = {
        "name": config.name,
        "seed": config.seed,
        "test_dice": dice,
        "steps": trainer.global_step,
        "seconds": round(time.time() - started, 1),
        "peak_memory_gib": round(usage, 3),
        "peak_gpu_memory_gib": round(torch.cuda.max_memory_allocated() / 2**30, 3)
        if torch.cuda.is_available()
        else None,
        "device": _device_name(),
        "predict_with": "teacher" if module.predictor is module.teacher else "student",
        "parameters": sum(p.numel() for p in module.network.parameters()),
        "annotation": describe(annotated),
        "versions": versions(),
        "git": git_state(),
        "command": " ".join([sys.executable, "-m", "neoseg.train", *sys.argv[1:]]),
    }
    write_text(folder / "run.json", json.dumps(record, indent=1) + "\n")
    log.info("run folder: %s", folder)
    return dice


def _device_name() -> str:
    if torch.cuda.is_available():
        return torch.cuda.get_device_name()
    return f"CPU, {os.cpu_count()} cores"


def _close_wandb() -> None:
    """End the W&B run, so that the next job of a sweep does not write into it."""
    wandb = sys.modules.get("wandb")
    if wandb is not None and getattr(wandb, "run", None) is not None:
        wandb.finish()
