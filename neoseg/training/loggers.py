"""Step curves as CSV in the run folder, mirrored to Weights & Biases."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from lightning.pytorch.loggers import CSVLogger, Logger, WandbLogger
from pydantic import BaseModel, ConfigDict, Field


class WandbSettings(BaseModel):
    """What a user writes under `logger.wandb`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    mode: str = Field(default="offline", pattern="^(offline|online|disabled)$")
    project: str = "neoseg"
    tags: tuple[str, ...] = ()


def make_loggers(
    run: Path, settings: WandbSettings, name: str, group: str | None, config: dict[str, Any]
) -> list[Logger]:
    """Return the CSV logger (`metrics.csv`) and, unless disabled, the W&B mirror.

    The W&B run is named after the arm and its seed, grouped by sweep, with the arm as job type.
    """
    loggers: list[Logger] = [CSVLogger(run, name="", version="")]
    if settings.mode != "disabled":
        loggers.append(
            WandbLogger(
                name=f"{name}-draw{config['annotation']['draw']}-seed{config['seed']}",
                save_dir=run,
                offline=settings.mode == "offline",
                project=settings.project,
                tags=list(settings.tags),
                group=group,
                job_type=name,
                config=config,
            )
        )
    return loggers
