"""Build the Lightning Trainer of a stage from the configuration."""

import os
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import lightning as L
from lightning.fabric.plugins.environments.cluster_environment import ClusterEnvironment
from lightning.fabric.plugins.environments.lightning import LightningEnvironment
from lightning.fabric.plugins.environments.slurm import SLURMEnvironment
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch.callbacks import Callback, ProgressBar
from lightning.pytorch.loggers import Logger

from neoseg.borrowed import starts_processes
from neoseg.configuration.config import sweeping
from neoseg.configuration.run import RunConfig
from neoseg.configuration.trainer import require_shares
from neoseg.findings.settings import ConfigError
from neoseg.tracking.loggers import make_loggers, wandb_callbacks
from neoseg.training.callbacks import make_callbacks
from neoseg.training.own_callbacks import make_own_callbacks
from neoseg.training.rates import OptimizerAsAsked
from neoseg.training.recipe import Stage

INTERACTIVE = ("bash", "interactive")
"""Names of SLURM jobs in which a person types commands."""


def stage_trainer(run: RunConfig, folder: Path, stage: Stage) -> L.Trainer:
    """Return the trainer of a stage of the run in `folder`; raises `ConfigError`."""
    settings = run.trainer
    if stage.epochs is not None:
        settings = settings.model_copy(update={"max_epochs": stage.epochs})
    stage_folder = stage.folder(folder)
    stage_folder.mkdir(parents=True, exist_ok=True)
    callbacks = make_callbacks(
        stage_folder,
        run.checkpoint,
        run.seed,
        stage.first_step(run.patches.steps_per_epoch),
        run.early_stopping,
        settings.enable_progress_bar,
        settings.max_time,
        run.on_nan,
        run.max_skipped,
    )
    sweep = run.paths.runs / "sweeps" / run.sweep
    group = run.sweep if folder.resolve().parent == sweep.resolve() else None
    loggers = make_loggers(
        stage_folder, folder, run.logger, run.name, group, run.content, run.privacy
    )
    callbacks += [OptimizerAsAsked(run.optimizer), *wandb_callbacks(loggers)]
    callbacks += make_own_callbacks(settings.callbacks or ())
    has_bar = any(isinstance(callback, ProgressBar) for callback in callbacks)
    # Without a bar, Lightning must not add its own.
    arguments = settings.arguments() | {"enable_progress_bar": has_bar}
    return make_trainer(arguments, run.patches.batch_size, stage_folder, callbacks, loggers)


def make_trainer(
    arguments: dict[str, Any],
    batch_size: int,
    folder: Path,
    callbacks: Sequence[Callback],
    loggers: Sequence[Logger],
) -> L.Trainer:
    """Return a trainer that follows the configuration, without Lightning's automatic additions.

    Args:
        arguments: of `L.Trainer`.
        batch_size: items of a step over all devices.
        folder: in which Lightning may write.
        callbacks: all callbacks.
        loggers: all loggers.

    Raises:
        ConfigError: arguments that contradict each other, or that this machine does not support.
    """
    environment = cluster_environment()
    try:
        with warnings.catch_warnings():
            # `_check_machine` raises a clearer error.
            warnings.filterwarnings("ignore", message=".*AMP with fp16 is not supported on CPU")
            trainer = L.Trainer(
                **arguments,
                plugins=None if environment is None else [environment],
                default_root_dir=folder,
                logger=list(loggers),
                callbacks=list(callbacks),
                use_distributed_sampler=False,  # the sampler distributes the items itself
                enable_model_summary=False,
            )
    except (MisconfigurationException, TypeError, ValueError, RuntimeError) as error:
        raise ConfigError(f"trainer cannot be built as conf/trainer says: {error}") from None
    _check_machine(trainer, arguments.get("precision", ""), batch_size)
    return trainer


def cluster_environment() -> ClusterEnvironment | None:
    """Return how the processes of a run find each other under SLURM; None without SLURM.

    A process started by `srun` is one of several numbered ones. A process started by hand inside an
    allocation, or from a batch script without `srun`, starts the others itself. Lightning never
    requeues a job: submitit or the batch script does.
    """
    if "SLURM_JOB_ID" not in os.environ:
        return None
    started_by_srun = "SLURM_STEP_ID" in os.environ and "SLURM_PROCID" in os.environ
    if started_by_srun and os.environ.get("SLURM_JOB_NAME") not in INTERACTIVE:
        return SLURMEnvironment(auto_requeue=False)
    return LightningEnvironment()


def _check_machine(trainer: L.Trainer, precision: str, batch_size: int) -> None:
    if precision == "16-mixed" and trainer.strategy.root_device.type == "cpu":
        raise ConfigError(
            "trainer.precision is 16-mixed, which a CPU does not have; use bf16-mixed or 32-true, "
            "or a GPU with trainer=gpu"
        )
    require_shares(batch_size, trainer.world_size)
    if sweeping() and starts_processes(trainer):
        # Each further process would start the whole sweep again.
        raise ConfigError(
            f"a sweep (-m) cannot start {trainer.world_size} processes a job in its own process; "
            "add cluster=local (jobs as commands of their own on this machine) or cluster=slurm to "
            "the same command, or use trainer.devices=1"
        )
