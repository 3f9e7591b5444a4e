"""Settings of the Lightning Trainer, and arguments of it that a run must not set."""

import inspect
import math
from collections.abc import Mapping
from typing import Any, Literal, Self

from pydantic import ConfigDict, Field, field_validator, model_validator

from neoseg.findings.nearest import nearest
from neoseg.findings.settings import ConfigError, Section, WrongKeysError, wrong_type
from neoseg.training.own_callbacks import require_callbacks

STEPS = "set patches.steps_per_epoch, the steps of an epoch and between two validations"
REFUSED: dict[str, tuple[Any, str]] = {
    "val_check_interval": (1.0, STEPS),
    "check_val_every_n_epoch": (1, STEPS),
    "limit_train_batches": (1.0, STEPS),
    "overfit_batches": (0.0, "take few scans (cohort.max_subjects); patches are drawn anew"),
    "logger": (True, "choose one beside it, logger=csv or another of conf/logger"),
    "plugins": (None, "a run chooses them by the machine"),
    "default_root_dir": (None, "set hydra.run.dir"),
    "use_distributed_sampler": (False, "a run shares the patches of a step out itself"),
    "enable_model_summary": (False, "name lightning.pytorch.callbacks.ModelSummary as a callback"),
    "enable_checkpointing": (True, "set checkpoint.every_steps or checkpoint.best"),
    "barebones": (False, "set score=false pictures=0 logger=csv"),
}
"""Trainer keys that would prevent an exact resume, would rely on an outdated validation, or that a
run sets itself: for each the neutral value, and what to use instead.
"""


class TrainerSettings(Section):
    """Settings of `conf/trainer/*.yaml`; further keys are arguments of `lightning.Trainer`.

    Weights are always float32: in half precision, small updates of a moving average are lost.
    """

    model_config = ConfigDict(extra="allow", frozen=True)

    accelerator: str = "auto"
    devices: int | str | list[int] = 1
    num_nodes: int = Field(default=1, ge=1)
    precision: Literal["32-true", "bf16-mixed", "16-mixed"] = "32-true"
    max_epochs: int | None = Field(default=None, ge=1)
    max_steps: int | None = Field(default=None, ge=1, description="of the optimizer, in all")
    max_time: str | dict[str, int] | None = None
    accumulate_grad_batches: int = Field(default=1, ge=1)
    log_every_n_steps: int | None = Field(default=None, ge=0)
    gradient_clip_val: float | None = Field(default=None, ge=0)
    enable_progress_bar: bool = True
    callbacks: tuple[dict[str, Any], ...] | None = Field(
        default=None, description="of your own, beside the run's: {_target_: CLASS, ...} each"
    )

    @field_validator("max_time")
    @classmethod
    def _require_duration(cls, value: str | dict[str, int] | None) -> str | dict[str, int] | None:
        from lightning.fabric.utilities.exceptions import MisconfigurationException
        from lightning.pytorch.callbacks import Timer

        try:
            Timer(value)
        except (TypeError, MisconfigurationException):
            raise ValueError("expected DD:HH:MM:SS such as 00:12:00:00") from None
        return value

    @model_validator(mode="after")
    def _check_keys(self) -> Self:
        from lightning.pytorch import Trainer

        _, *parameters = inspect.signature(Trainer.__init__).parameters.values()
        known = {parameter.name: parameter for parameter in parameters}
        extra = self.model_extra or {}
        wrong = [
            f"there is no key 'trainer.{key}'{nearest(key, known)}"
            for key in extra
            if key not in known
        ]
        for key, value in extra.items():
            if key in known and value is not None:
                wrong += wrong_type(f"trainer.{key}", value, known[key])
        wrong += [
            f"trainer.{key} is {extra[key]}; {instead} (trainer.{key}=null takes it back)"
            for key, (neutral, instead) in REFUSED.items()
            if (type(value := extra.get(key, neutral)), value) != (type(neutral), neutral)
            and value is not None
        ]
        if self.max_epochs is None and self.max_steps is None and self.max_time is None:
            wrong.append("trainer.max_epochs is not set; set it, or trainer.max_steps")
        WrongKeysError.require_none(wrong)
        return self

    def arguments(self) -> dict[str, Any]:
        """Return the trainer arguments that are set, except limits and callbacks.

        Lightning's own limits (`max_time`, `max_steps`) stop within an epoch, from where a run
        cannot be resumed exactly.
        """
        excluded = {"max_time", "max_steps", "callbacks", *REFUSED}
        return {k: v for k, v in self.model_dump(exclude_unset=True).items() if k not in excluded}

    @property
    def processes(self) -> int:
        """Total number of processes; `devices` without a number count as one per node."""
        count = len(self.devices) if isinstance(self.devices, list) else self.devices
        return max(count if isinstance(count, int) else 1, 1) * self.num_nodes


def require_fit(trainer: TrainerSettings, others: Mapping[str, Any]) -> None:
    """Raise `ConfigError` if the trainer conflicts with other fields of a run that are present."""
    require_callbacks(trainer.callbacks or (), others.get("allow", ()))
    if "patches" in others:
        require_shares(others["patches"].batch_size, trainer.processes)
    if "optimizer" in others:
        require_clipped(trainer, others["optimizer"].fused)


def require_shares(batch_size: int, devices: int) -> None:
    """Raise `ConfigError` if the batch size is not a multiple of the number of devices."""
    if batch_size % devices:
        raise ConfigError(
            f"patches.batch_size is {batch_size}, the patches of a step over all devices, which "
            f"{devices} devices (trainer.devices of trainer.num_nodes) cannot share evenly; "
            f"use patches.batch_size={-(-batch_size // devices) * devices}, or another "
            f"multiple of {devices}"
        )


def require_clipped(trainer: TrainerSettings, fused: bool) -> None:
    """Raise `ConfigError` if a fused optimizer would prevent gradient clipping."""
    if fused and trainer.precision == "16-mixed" and trainer.gradient_clip_val:
        raise ConfigError(
            "optimizer.fused is true with trainer.precision=16-mixed and "
            f"trainer.gradient_clip_val={trainer.gradient_clip_val}: a fused step unscales the "
            "gradients itself, after they would be clipped; use trainer.precision=bf16-mixed, "
            "trainer.gradient_clip_val=null or optimizer.fused=false"
        )


def in_epochs(config: dict[str, Any]) -> dict[str, Any]:
    """Return the plain containers of a run with `trainer.max_steps` converted to epochs.

    Their number follows from `patches.steps_per_epoch`, which is then reduced so that the last
    epoch ends with the last step, or exceeds it by less than one step per epoch.
    """
    trainer, patches = config.get("trainer"), config.get("patches")
    if not isinstance(trainer, dict) or not isinstance(patches, dict):
        return config
    steps, epoch = trainer.get("max_steps"), patches.get("steps_per_epoch")
    accumulated = trainer.get("accumulate_grad_batches", 1)
    if any(type(number) is not int or number < 1 for number in (steps, epoch, accumulated)):
        return config
    epochs = math.ceil(steps * accumulated / epoch)
    epoch = math.ceil(steps / epochs) * accumulated
    return config | {
        "trainer": trainer | {"max_epochs": epochs},
        "patches": patches | {"steps_per_epoch": epoch},
    }
