"""The Lightning Trainer of a training, from the configuration, with what it must not be told."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import lightning as L
from hydra.core.hydra_config import HydraConfig
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.loggers import Logger
from lightning.pytorch.strategies.launchers import _SubprocessScriptLauncher
from omegaconf import DictConfig
from pydantic import ValidationError

from neoseg.configuration.config import plain, settings_of
from neoseg.findings.settings import ConfigError
from neoseg.runs.slurm import cluster_environment
from neoseg.training.callbacks import make_callbacks
from neoseg.training.checkpoint import CheckpointSettings
from neoseg.training.loggers import LoggerSettings, make_loggers, mirroring
from neoseg.training.nonfinite import NonFiniteSettings
from neoseg.training.recipe import Stage

REFUSED = {
    "val_check_interval": "set patches.steps_per_epoch, the steps between two validations",
    "max_steps": "set trainer.max_epochs, whose epochs have patches.steps_per_epoch steps",
}
"""Keys of the trainer with which a run could not be resumed exactly, and what to use instead."""

PRECISIONS = ("32-true", "bf16-mixed", "16-mixed")
"""Weights are always float32: a moving average in half precision would stand still."""


def stage_trainer(config: DictConfig, run: Path, stage: Stage) -> L.Trainer:
    """Return the trainer of one stage of the run in folder `run`, with its callbacks and loggers.

    Raises:
        ConfigError: as `make_trainer`.
    """
    arguments: dict[str, Any] = plain(config.trainer)
    if stage.epochs is not None:
        arguments["max_epochs"] = stage.epochs
    folder = stage.folder(run)
    folder.mkdir(parents=True, exist_ok=True)
    max_time = arguments.pop("max_time", None)
    try:
        callbacks = make_callbacks(
            folder,
            settings_of(CheckpointSettings, config, "checkpoint"),
            config.seed,
            stage.first_step(config.patches.steps_per_epoch),
            config.early_stopping,
            bool(arguments.get("enable_progress_bar", True)),
            max_time,
            NonFiniteSettings(
                on_nan=config.get("on_nan", "stop"), max_skipped=config.get("max_skipped", 10)
            ),
        )
    except ValidationError as error:
        lines = [f"{e['loc'][0]} is {e['input']!r}: {e['msg']}" for e in error.errors()]
        raise ConfigError("; ".join(lines)) from None
    except MisconfigurationException:
        raise ConfigError(
            f"trainer.max_time is {max_time!r}, expected DD:HH:MM:SS such as 00:12:00:00"
        ) from None
    name, settings = str(config.name), settings_of(LoggerSettings, config, "logger")
    sweep = Path(config.paths.runs) / "sweeps" / str(config.sweep)
    group = str(config.sweep) if run.resolve().parent == sweep.resolve() else None
    loggers = make_loggers(folder, run, settings, name, group, plain(config))
    callbacks += mirroring(loggers)
    return make_trainer(arguments, config.patches.batch_size, folder, callbacks, loggers)


def make_trainer(
    arguments: dict[str, Any],
    batch_size: int,
    folder: Path,
    callbacks: Sequence[Callback],
    loggers: Sequence[Logger],
) -> L.Trainer:
    """Return a trainer that does what the configuration says and nothing behind its back.

    Args:
        arguments: of `lightning.Trainer`, as in `conf/trainer`.
        batch_size: items of a step over all devices.
        folder: where Lightning may write.
        callbacks: all of them.
        loggers: all of them.

    Raises:
        ConfigError: keys that the trainer does not know, that resuming forbids, or that this
            machine cannot fulfil.
    """
    for key, instead in REFUSED.items():
        if arguments.get(key) is not None:
            raise ConfigError(f"trainer.{key} is {arguments[key]}; {instead}")
    environment = cluster_environment()
    precision = arguments.get("precision", PRECISIONS[0])
    if precision not in PRECISIONS:
        raise ConfigError(f"trainer.precision is {precision!r}; use {', '.join(PRECISIONS)}")
    try:
        with warnings.catch_warnings():
            # An error of ours says more.
            warnings.filterwarnings("ignore", message=".*AMP with fp16 is not supported on CPU")
            trainer = L.Trainer(
                **arguments,
                plugins=None if environment is None else [environment],
                default_root_dir=folder,
                logger=list(loggers),
                callbacks=list(callbacks),
                use_distributed_sampler=False,  # the sampler shares the items out itself
                enable_model_summary=False,
            )
    except TypeError as error:
        raise ConfigError(
            f"trainer has a key that lightning.Trainer does not know: {error}"
        ) from None
    except (MisconfigurationException, ValueError) as error:
        raise ConfigError(f"trainer cannot be built as conf/trainer says: {error}") from None
    _check_machine(trainer, precision, batch_size)
    return trainer


def _check_machine(trainer: L.Trainer, precision: str, batch_size: int) -> None:
    if precision == "16-mixed" and trainer.strategy.root_device.type == "cpu":
        raise ConfigError(
            "trainer.precision is 16-mixed, which a CPU does not have; use bf16-mixed or 32-true, "
            "or a GPU with trainer=gpu"
        )
    if batch_size % trainer.world_size:
        raise ConfigError(
            f"patches.batch_size is {batch_size}, the patches of a step over all devices, which "
            f"{trainer.world_size} devices cannot share evenly; use a multiple of "
            f"{trainer.world_size}"
        )
    launcher = trainer.strategy.launcher
    starts_others = (
        isinstance(launcher, _SubprocessScriptLauncher)
        and not launcher.cluster_environment.creates_processes_externally
    )
    if _sweeping() and starts_others:
        # Each further process would start the whole sweep itself.
        raise ConfigError(
            f"a sweep (-m) cannot start {trainer.world_size} processes a job in its own process; "
            "add cluster=local (jobs as commands of their own on this machine) or cluster=slurm to "
            "the same command, or use trainer.devices=1"
        )


def _sweeping() -> bool:
    hydra = HydraConfig.get() if HydraConfig.initialized() else None
    return hydra is not None and hydra.mode is not None and hydra.mode.name == "MULTIRUN"
