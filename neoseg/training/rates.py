"""Resume an optimizer whose settings have changed since it was saved."""

from collections.abc import Mapping
from typing import Any

import lightning as L

from neoseg.training.optimisation import OptimizerSettings

RATES = ("lr", "initial_lr", "max_lr", "min_lr")
"""Learning rates in a parameter group that schedules scale or start from."""


class OptimizerAsAsked(L.Callback):
    """Resume a training with the optimizer's current settings instead of the saved ones."""

    def __init__(self, asked: OptimizerSettings) -> None:
        self.asked = asked

    def on_load_checkpoint(
        self, trainer: L.Trainer, pl_module: L.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Edit the loaded checkpoint before Lightning restores the optimizer from it."""
        saved = checkpoint["hyper_parameters"].get("optimizer")
        if saved is not None:
            with_settings(checkpoint, OptimizerSettings.model_validate(saved), self.asked)


def with_settings(
    checkpoint: Mapping[str, Any], saved: OptimizerSettings, asked: OptimizerSettings
) -> None:
    """Change the states of optimizers and schedules in a checkpoint, in place, to new settings.

    The optimizer's moments stay; its rates, and those that schedules start from, are scaled.
    Nothing changes if the settings are equal. Both settings must be of the same optimizer.
    """
    ratio = asked.lr / saved.lr
    if ratio != 1:
        for schedule in checkpoint.get("lr_schedulers", ()):
            for name in ("base_lrs", "_last_lr"):
                if name in schedule:
                    schedule[name] = [rate * ratio for rate in schedule[name]]
    for state in checkpoint.get("optimizer_states", ()):
        for group in state["param_groups"]:
            for name in RATES if ratio != 1 else ():
                if name in group:
                    group[name] *= ratio
            for name in ("weight_decay", "momentum"):
                if name in group and getattr(saved, name) != getattr(asked, name):
                    group[name] = getattr(asked, name)
