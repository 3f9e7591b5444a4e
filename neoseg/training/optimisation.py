"""Optimizers and learning-rate schedules from their configuration."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

import torch
from pydantic import Field, PlainValidator, model_validator
from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR, LinearLR, LRScheduler, ReduceLROnPlateau

from neoseg.findings.settings import ConfigError, Section
from neoseg.training.optim_class import PACKAGE, make_class

if TYPE_CHECKING:
    import lightning as L

OPTIMIZERS: dict[str, type[Optimizer]] = {
    "sgd": torch.optim.SGD,
    "adam": torch.optim.Adam,
    "adamw": torch.optim.AdamW,
}
SCHEDULES = ("constant", "cosine", "poly", "plateau")

AUTO = "auto"
"""As an argument of a schedule, it stands for the optimizer steps of the whole training."""


def _schedule(value: Any) -> Any:
    if (isinstance(value, dict) and "_target_" in value) or value in SCHEDULES:
        return value
    names = ", ".join(SCHEDULES)
    raise ValueError(f"use {names}, or a class as {{_target_: {PACKAGE}.lr_scheduler.NAME, ...}}")


class OptimizerSettings(Section):
    """What a user writes in `conf/optimizer/*.yaml`.

    An optimizer has a `name`, or a `_target_`: then keys that stand for nothing else are arguments
    of that class.
    """

    name: Literal["sgd", "adam", "adamw"] | None = None
    target: str | None = Field(default=None, alias="_target_", description="its class")
    arguments: dict[str, Any] = Field(default_factory=dict, description="of the class")
    lr: float = Field(gt=0, description="largest learning rate")
    weight_decay: float = Field(default=0.0, ge=0)
    momentum: float = Field(default=0.99, ge=0, lt=1, description="SGD only, with Nesterov")
    fused: bool = Field(default=False, description="on an accelerator, all weights in one kernel")
    schedule: Annotated[str | dict[str, Any], PlainValidator(_schedule)] = "cosine"
    warmup_steps: int = Field(default=0, ge=0, description="linear, from a hundredth")
    patience: int = Field(default=10, ge=1, description="epochs, plateau only")

    @model_validator(mode="before")
    @classmethod
    def _other_keys_are_arguments(cls, raw: Any) -> Any:
        if not isinstance(raw, Mapping) or "_target_" not in raw or "arguments" in raw:
            return raw
        own = {"name", "_target_", "lr", "schedule", "warmup_steps", "patience"}
        arguments = {key: value for key, value in raw.items() if key not in own}
        return {key: raw[key] for key in own & raw.keys()} | {"arguments": arguments}

    @model_validator(mode="after")
    def _it_can_be_made(self) -> Self:
        if (self.name is None) == (self.target is None):
            found = "is not set" if self.name is None else f"is {self.name}, beside a _target_"
            raise ConfigError(
                f"optimizer.name {found}; give either a name ({', '.join(OPTIMIZERS)}) or a class "
                f"(optimizer._target_={PACKAGE}.NAdam)"
            )
        if isinstance(self.schedule, dict) and self.warmup_steps and not self.waits:
            raise ConfigError(
                f"optimizer.warmup_steps is {self.warmup_steps}, and {self.schedule['_target_']} "
                "sets the rate of every step itself; set optimizer.warmup_steps=0"
            )
        if all(path.startswith(f"{PACKAGE}.") for path in self.targets):
            check_optimizer(self)
        return self

    @property
    def targets(self) -> list[str]:
        """Dotted paths of the classes that are named."""
        nodes = [self.target, isinstance(self.schedule, dict) and self.schedule["_target_"]]
        return [str(path) for path in nodes if path]

    @property
    def waits(self) -> bool:
        """Whether the schedule goes by the validation alone, which leaves room for a warm-up."""
        plateau = f"{PACKAGE}.lr_scheduler.ReduceLROnPlateau"
        return self.schedule == "plateau" or (
            isinstance(self.schedule, dict) and self.schedule["_target_"] == plateau
        )


def check_optimizer(settings: OptimizerSettings, allow: Sequence[str] = ()) -> None:
    """Try the classes that settings name: make them for one number and go two steps.

    Args:
        settings: of the optimizer and its schedule.
        allow: packages beside `torch.optim` whose classes may be called.

    Raises:
        ConfigError, WrongKeysError: a class that is not allowed or that is none, arguments that it
            does not take, and values that it refuses.
    """
    if not settings.targets:
        return
    parameter = nn.Parameter(torch.zeros(1))
    parameter.grad = torch.zeros(1)
    optimizer = make_optimizer(settings, [parameter], allow)
    schedules = make_schedules(settings, optimizer, 100, allow)
    try:
        for _ in range(2):
            optimizer.step(lambda: 0.0)
            for schedule in schedules:
                if isinstance(schedule, ReduceLROnPlateau):
                    schedule.step(0.5)
                else:
                    schedule.step()
    except Exception as error:  # whatever a class may raise
        written = {"_target_": settings.target, **settings.arguments}
        raise ConfigError(
            f"optimizer: {written} with schedule {settings.schedule} fails when it steps: {error}; "
            "correct its arguments"
        ) from error


def make_optimizer(
    settings: OptimizerSettings,
    parameters: Iterable[nn.Parameter | dict[str, Any]],
    allow: Sequence[str] = (),
) -> Optimizer:
    """Return the optimizer over the parameters that learn, or over groups of them with rates of
    their own; raises as `check_optimizer`.
    """
    learning: list[Any] = [p for p in parameters if isinstance(p, dict) or p.requires_grad]
    if settings.target is not None:
        arguments = {"lr": settings.lr, **settings.arguments}
        return make_class(Optimizer, learning, settings.target, arguments, "optimizer", allow)
    kwargs: dict[str, Any] = {"lr": settings.lr, "weight_decay": settings.weight_decay}
    flat = [w for part in learning for w in (part["params"] if isinstance(part, dict) else [part])]
    if settings.fused and all(weight.is_cuda for weight in flat):
        kwargs["fused"] = True
    if settings.name == "sgd":
        kwargs |= {"momentum": settings.momentum, "nesterov": settings.momentum > 0}
    return OPTIMIZERS[str(settings.name)](learning, **kwargs)


WARMUP_START = 0.01
"""Share of the largest learning rate at the first step of a warm-up."""


def make_schedules(
    settings: OptimizerSettings,
    optimizer: Optimizer,
    total_steps: int,
    allow: Sequence[str] = (),
) -> list[LRScheduler]:
    """Return the schedules; all but `ReduceLROnPlateau` are stepped after each optimizer step.

    "plateau" with a warm-up is two that multiply the current rate, so that neither undoes the
    other; the rest is one. Raises as `check_optimizer`.
    """
    if isinstance(settings.schedule, dict):
        given = {k: total_steps if v == AUTO else v for k, v in settings.schedule.items()}
        target = str(given.pop("_target_"))
        if settings.waits:
            given.setdefault("mode", "max")  # of Dice
        schedule = make_class(LRScheduler, optimizer, target, given, "optimizer.schedule", allow)
    elif settings.schedule == "plateau":
        schedule = ReduceLROnPlateau(optimizer, mode="max", patience=settings.patience)
    else:
        return [LambdaLR(optimizer, lambda step: factor(settings, step, total_steps))]
    if not settings.warmup_steps:
        return [schedule]
    return [schedule, LinearLR(optimizer, WARMUP_START, total_iters=settings.warmup_steps)]


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
        return math.pow(1 - t, 0.9)
    return 1.0


def total_steps(trainer: L.Trainer) -> int:
    """Return the optimizer steps of a whole training.

    Lightning's own estimate starts the loader, which in a resumed run would fetch its first
    batches before the progress is restored: those of step 0.
    """
    patches = getattr(getattr(trainer, "datamodule", None), "patches", None)
    if patches is None:
        raise ConfigError(
            "the module trains on the batches of neoseg's data module: give the trainer "
            "datamodule=MixedDataModule(...), or put objective and network into a module of your "
            "own"
        )
    batches: int = patches.steps_per_epoch
    epochs = trainer.max_epochs or 0
    epochs = epochs if epochs > 0 else sys.maxsize  # endless: a schedule never gets anywhere
    return math.ceil(batches / trainer.accumulate_grad_batches) * epochs
