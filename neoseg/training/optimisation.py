"""Build optimizers and learning-rate schedules from their configuration."""

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
"""As an argument of a schedule: the number of optimizer steps of the whole training."""


def _schedule(value: Any) -> Any:
    if (isinstance(value, dict) and "_target_" in value) or value in SCHEDULES:
        return value
    names = ", ".join(SCHEDULES)
    raise ValueError(f"use {names}, or a class as {{_target_: {PACKAGE}.lr_scheduler.NAME, ...}}")


class OptimizerSettings(Section):
    """Settings in `conf/optimizer/*.yaml`.

    An optimizer has a `name` or a `_target_`. With a `_target_`, all keys without a meaning of
    their own are arguments of that class.
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
    def _collect_arguments(cls, raw: Any) -> Any:
        if not isinstance(raw, Mapping) or "_target_" not in raw or "arguments" in raw:
            return raw
        reserved = {"name", "_target_", "lr", "schedule", "warmup_steps", "patience"}
        arguments = {key: value for key, value in raw.items() if key not in reserved}
        return {key: raw[key] for key in reserved & raw.keys()} | {"arguments": arguments}

    @model_validator(mode="after")
    def _check(self) -> Self:
        if (self.name is None) == (self.target is None):
            name = "is not set" if self.name is None else f"is {self.name}, beside a _target_"
            raise ConfigError(
                f"optimizer.name {name}; give either a name ({', '.join(OPTIMIZERS)}) or a class "
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
        """Dotted paths of the classes named by `_target_`."""
        paths = [self.target, isinstance(self.schedule, dict) and self.schedule["_target_"]]
        return [str(path) for path in paths if path]

    @property
    def waits(self) -> bool:
        """Whether the schedule depends on the validation alone, which leaves room for a warm-up."""
        plateau = f"{PACKAGE}.lr_scheduler.ReduceLROnPlateau"
        return self.schedule == "plateau" or (
            isinstance(self.schedule, dict) and self.schedule["_target_"] == plateau
        )


def check_optimizer(settings: OptimizerSettings, allow: Sequence[str] = ()) -> None:
    """Check the classes that settings name: build them for one number and take two steps.

    Args:
        settings: of the optimizer and its schedule.
        allow: packages besides `torch.optim` whose classes may be called.

    Raises:
        ConfigError, WrongKeysError: a class that is not allowed or of the wrong kind, and arguments
            or values that it does not accept.
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
    except Exception as error:  # a class may raise anything
        node = {"_target_": settings.target, **settings.arguments}
        raise ConfigError(
            f"optimizer: {node} with schedule {settings.schedule} fails when it steps: {error}; "
            "correct its arguments"
        ) from error


def make_optimizer(
    settings: OptimizerSettings,
    parameters: Iterable[nn.Parameter | dict[str, Any]],
    allow: Sequence[str] = (),
) -> Optimizer:
    """Return the optimizer over all trainable parameters, or over groups with their own rates.

    Raises the same errors as `check_optimizer`.
    """
    trainable: list[Any] = [p for p in parameters if isinstance(p, dict) or p.requires_grad]
    if settings.target is not None:
        arguments = {"lr": settings.lr, **settings.arguments}
        return make_class(Optimizer, trainable, settings.target, arguments, "optimizer", allow)
    kwargs: dict[str, Any] = {"lr": settings.lr, "weight_decay": settings.weight_decay}
    flat = [w for part in trainable for w in (part["params"] if isinstance(part, dict) else [part])]
    if settings.fused and all(weight.is_cuda for weight in flat):
        kwargs["fused"] = True
    if settings.name == "sgd":
        kwargs |= {"momentum": settings.momentum, "nesterov": settings.momentum > 0}
    return OPTIMIZERS[str(settings.name)](trainable, **kwargs)


WARMUP_START = 0.01
"""Learning rate at the first step of a warm-up, as a fraction of the largest."""


def make_schedules(
    settings: OptimizerSettings,
    optimizer: Optimizer,
    total_steps: int,
    allow: Sequence[str] = (),
) -> list[LRScheduler]:
    """Return the schedules; all but `ReduceLROnPlateau` are stepped after each optimizer step.

    "plateau" with a warm-up yields two schedules that multiply the current rate, so that neither
    undoes the other; all others are a single one. Raises the same errors as `check_optimizer`.
    """
    if isinstance(settings.schedule, dict):
        arguments = {k: total_steps if v == AUTO else v for k, v in settings.schedule.items()}
        target = str(arguments.pop("_target_"))
        if settings.waits:
            arguments.setdefault("mode", "max")  # the metric is Dice
        schedule = make_class(
            LRScheduler, optimizer, target, arguments, "optimizer.schedule", allow
        )
    elif settings.schedule == "plateau":
        schedule = ReduceLROnPlateau(optimizer, mode="max", patience=settings.patience)
    else:
        return [LambdaLR(optimizer, lambda step: factor(settings, step, total_steps))]
    if not settings.warmup_steps:
        return [schedule]
    return [schedule, LinearLR(optimizer, WARMUP_START, total_iters=settings.warmup_steps)]


def factor(settings: OptimizerSettings, step: int, total_steps: int) -> float:
    """Return the learning rate at a step as a fraction of the largest.

    Cosine: half a period down to 0; poly: (1 - t)^0.9, where t is the completed fraction of the
    steps after warm-up.
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
    """Return the number of optimizer steps of a whole training.

    Lightning's own estimate starts the loader, which in a resumed run would fetch the batches of
    step 0 before the progress is restored.
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
    epochs = epochs if epochs > 0 else sys.maxsize  # endless: schedules stay at their start
    return math.ceil(batches / trainer.accumulate_grad_batches) * epochs
