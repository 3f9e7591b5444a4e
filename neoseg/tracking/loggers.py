"""Loggers of a training: always `metrics.csv`; W&B, TensorBoard and MLflow on request."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from lightning.pytorch.callbacks import Callback
from lightning.pytorch.loggers import Logger
from pydantic import Field

from neoseg.findings.privacy import Privacy, shared
from neoseg.findings.settings import Section
from neoseg.tracking import METRICS
from neoseg.tracking.curves import CurveLogger
from neoseg.tracking.mlflow_run import MlflowRun, MlflowSettings
from neoseg.tracking.overlays import Overlays
from neoseg.tracking.service import About, LoggerError, ServiceRun
from neoseg.tracking.tensorboard import TensorBoardCurves, TensorBoardSettings
from neoseg.tracking.wandb_run import WandbRun, WandbSettings

__all__ = [
    "LoggerError",
    "LoggerSettings",
    "close_runs",
    "make_loggers",
    "runs_of",
    "wandb_callbacks",
]


class LoggerSettings(Section):
    """Settings in `conf/logger/*.yaml`."""

    wandb: WandbSettings = Field(default_factory=WandbSettings)
    tensorboard: TensorBoardSettings = Field(default_factory=TensorBoardSettings)
    mlflow: MlflowSettings = Field(default_factory=MlflowSettings)


def make_loggers(
    folder: Path,
    run: Path,
    settings: LoggerSettings,
    name: str,
    group: str | None,
    config: dict[str, Any],
    privacy: Privacy = "none",
) -> list[Logger]:
    """Return the CSV logger (`metrics.csv`) and the other loggers that the settings enable.

    The run of a service is named after the arm, its draw and its seed, and after the stage if it is
    not the last; it is grouped by sweep, with the arm as job type. Its configuration has one key
    in addition to the run's: `stage`, "last" or the name of an earlier one.

    Args:
        folder: of this training: the run folder, or that of an earlier stage in it.
        run: the run folder, below which W&B writes.
        settings: which loggers, and how.
        name: of the arm.
        group: the sweep.
        config: sent to W&B and MLflow.
        privacy: what is withheld from them.

    Raises:
        LoggerError: a requested logger is not installed.
    """
    curves = CurveLogger(folder / METRICS)
    loggers: list[Logger] = [curves]
    if settings.tensorboard.enabled:
        loggers.append(TensorBoardCurves(folder))
    if settings.wandb.mode != "disabled" or settings.mlflow.uri is not None:
        stage = folder.name if folder != run else "last"
        suffix = f"-stage{stage}" if folder != run else ""
        about = About(
            name=f"{name}-draw{config['annotation']['draw']}-seed{config['seed']}{suffix}",
            job_type=name,
            group=group,
            tags=tuple(dict.fromkeys([*settings.wandb.tags, *_tags(config)])),
            config=shared(config, privacy, [str(run), str(run.resolve())]) | {"stage": stage},
            privacy=privacy,
        )
        if settings.wandb.mode != "disabled":
            loggers.append(WandbRun(settings.wandb, run, curves, about))
        if settings.mlflow.uri is not None:
            loggers.append(MlflowRun(settings.mlflow, curves, about))
    return loggers


def wandb_callbacks(loggers: Iterable[Logger]) -> list[Callback]:
    """Return the callbacks that send overlays to W&B."""
    runs = [logger for logger in loggers if isinstance(logger, WandbRun)]
    return [Overlays(run) for run in runs if run.settings.overlays]


def runs_of(loggers: Iterable[Logger]) -> list[ServiceRun]:
    """Return the loggers that are runs of a service."""
    return [logger for logger in loggers if isinstance(logger, ServiceRun)]


def close_runs(loggers: Iterable[Logger], failed: bool = False) -> None:
    """End the runs of services, so that the next stage or job does not write into them."""
    for run in runs_of(loggers):
        run.close(failed)


def _tags(config: dict[str, Any]) -> list[str]:
    """Return the names of cohort, labels and network."""
    parts = (config.get(group) for group in ("cohort", "labels", "network"))
    return [str(part["name"])[:64] for part in parts if isinstance(part, dict) and part.get("name")]
