"""`checkpoints/best.ckpt`: the weights of the best validation Dice, where a run asks for them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import lightning as L
from lightning.pytorch.callbacks import Checkpoint

from neoseg.training.checkpoint import save_whole
from neoseg.training.module import MONITOR


class BestCheckpoint(Checkpoint):
    """Replaces one file, whole, after each validation with a higher mean Dice than all before.

    It holds the weights and what they need, not the optimizer: a run goes on from the last
    checkpoint, which must be written after this one, so that a repeated epoch finds what the first
    pass found. The earlier of equal values stays.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.dice: float | None = None

    def on_train_epoch_end(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        """Save where the validation of the epoch was the best so far."""
        found = trainer.callback_metrics.get(MONITOR)
        dice = float("nan") if found is None else float(found)
        if trainer.sanity_checking or not dice > (-1.0 if self.dice is None else self.dice):
            return
        self.dice = dice
        save_whole(trainer, self.path, weights_only=True)

    def state_dict(self) -> dict[str, Any]:
        """Return the best value so far."""
        return {"dice": self.dice}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from the best value of the interrupted run."""
        self.dice = state_dict["dice"]
