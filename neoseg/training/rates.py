"""Going on with an optimizer whose settings have changed since it was saved."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import lightning as L

from neoseg.training.optimisation import OptimizerSettings

RATES = ("lr", "initial_lr", "max_lr", "min_lr")
"""What schedules keep in a group of weights and multiply or start from."""


class OptimizerAsAsked(L.Callback):
    """Lets a training that goes on do so with the optimizer's settings of now."""

    def __init__(self, asked: OptimizerSettings) -> None:
        self.asked = asked

    def on_load_checkpoint(
        self, trainer: L.Trainer, pl_module: L.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Change what has been loaded before Lightning gives it to the optimizer."""
        saved = checkpoint["hyper_parameters"].get("optimizer")
        if saved is not None:
            with_settings(checkpoint, OptimizerSettings.model_validate(saved), self.asked)


def with_settings(
    checkpoint: Mapping[str, Any], saved: OptimizerSettings, asked: OptimizerSettings
) -> None:
    """Change the states of optimizers and schedules in a checkpoint to what is asked for.

    What an optimizer has gathered stays; its rates, and those that schedules start from, are
    multiplied. States of equal settings are not touched. Both are of the same optimizer.
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
