"""Optimizers and learning-rate schedules from their configuration."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterable
from typing import Any, Literal

import lightning as L
import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import nn
from torch.optim.lr_scheduler import LambdaLR, LinearLR, LRScheduler, ReduceLROnPlateau

OPTIMIZERS: dict[str, type[torch.optim.Optimizer]] = {
    "sgd": torch.optim.SGD,
    "adam": torch.optim.Adam,
    "adamw": torch.optim.AdamW,
}


class OptimizerSettings(BaseModel):
    """What a user writes in `conf/optimizer/*.yaml`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: Literal["sgd", "adam", "adamw"]
    lr: float = Field(gt=0, description="largest learning rate")
    weight_decay: float = Field(default=0.0, ge=0)
    momentum: float = Field(default=0.99, ge=0, lt=1, description="SGD only, with Nesterov")
    schedule: Literal["constant", "cosine", "poly", "plateau"] = "cosine"
    warmup_steps: int = Field(default=0, ge=0, description="linear, from a hundredth")
    patience: int = Field(default=10, ge=1, description="epochs, plateau only")


def make_optimizer(
    settings: OptimizerSettings, parameters: Iterable[nn.Parameter]
) -> torch.optim.Optimizer:
    """Return the optimizer over the parameters that learn."""
    kwargs: dict[str, Any] = {"lr": settings.lr, "weight_decay": settings.weight_decay}
    if settings.name == "sgd":
        kwargs |= {"momentum": settings.momentum, "nesterov": settings.momentum > 0}
    learning = [p for p in parameters if p.requires_grad]
    return OPTIMIZERS[settings.name](learning, **kwargs)


WARMUP_START = 0.01
"""Share of the largest learning rate at the first step of a warm-up."""


def make_schedules(
    settings: OptimizerSettings, optimizer: torch.optim.Optimizer, total_steps: int
) -> list[LRScheduler | ReduceLROnPlateau]:
    """Return the schedules; all but `ReduceLROnPlateau` are stepped after each optimizer step.

    "plateau" with a warm-up is two that multiply the current rate, so that neither undoes the
    other; the rest is one.
    """
    if settings.schedule != "plateau":
        return [LambdaLR(optimizer, lambda step: factor(settings, step, total_steps))]
    plateau = ReduceLROnPlateau(optimizer, mode="max", patience=settings.patience)
    if not settings.warmup_steps:
        return [plateau]
    return [plateau, LinearLR(optimizer, WARMUP_START, total_iters=settings.warmup_steps)]


def factor(settings: OptimizerSettings, step: int, total_steps: int) -> float:
    """Return the learning rate at a step as a share of the largest.

    Cosine: half a period down to 0; poly: (1 - t)^0.9, with t the share of the steps after
    warm-up that is done.
    """
    if step < settings.warmup_steps:
        return WARMUP_START + (1 - WARMUP_START) * step / settings.warmup_steps
    span = max(1, total_steps - settings.warmup_steps)
    t = min(1.0, (step - settings.warmup_steps) / span)
    if settings.schedule == "cosine":
        return 0.5 * (1 + math.cos(math.pi * t))
    if settings.schedule == "poly":
        return (1 - t) ** 0.9
    return 1.0


def total_steps(trainer: L.Trainer) -> int:
    """Return the optimizer steps of a whole training.

    Lightning's own estimate starts the loader, which in a resumed run would fetch its first
    batches before the progress is restored: those of step 0.
    """
    batches: int = trainer.datamodule.patches.steps_per_epoch  # type: ignore[attr-defined]
    epochs = trainer.max_epochs or 0
    epochs = epochs if epochs > 0 else sys.maxsize  # endless: a schedule never gets anywhere
    return math.ceil(batches / trainer.accumulate_grad_batches) * epochs
