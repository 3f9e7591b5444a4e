"""Step curves as CSV in the run folder, mirrored to Weights & Biases."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers import Logger, WandbLogger
from pydantic import BaseModel, ConfigDict, Field

from neoseg.training.curves import METRICS, CurveLogger


class WandbSettings(BaseModel):
    """What a user writes under `logger.wandb`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    mode: str = Field(default="offline", pattern="^(offline|online|disabled)$")
    project: str = "neoseg"
    tags: tuple[str, ...] = ()


def make_loggers(
    folder: Path,
    run: Path,
    settings: WandbSettings,
    name: str,
    group: str | None,
    config: dict[str, Any],
) -> list[Logger]:
    """Return the CSV logger (`metrics.csv`) and, unless disabled, the W&B mirror.

    The W&B run is named after the arm and its seed, and after the stage if it is not the last;
    it is grouped by sweep, with the arm as job type.

    Args:
        folder: of this training: the run folder, or that of an earlier stage in it.
        run: the run folder, below which W&B writes.
        settings: of the mirror.
        name: of the arm.
        group: the sweep.
        config: goes to W&B.
    """
    loggers: list[Logger] = [CurveLogger(folder / METRICS)]
    if settings.mode != "disabled":
        stage = f"-stage{folder.name}" if folder != run else ""
        loggers.append(
            WandbLogger(
                name=f"{name}-draw{config['annotation']['draw']}-seed{config['seed']}{stage}",
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


def close_wandb() -> None:
    """End the W&B run, so that the next stage or job does not write into it."""
    wandb = sys.modules.get("wandb")
    if wandb is not None and getattr(wandb, "run", None) is not None:
        wandb.finish()
