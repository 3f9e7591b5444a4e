"""`checkpoints/best.ckpt`: the weights with the best validation Dice, if a run asks for them."""

from pathlib import Path
from typing import Any

import lightning as L
from lightning.pytorch.callbacks import Checkpoint

from neoseg.training.checkpoint import save_whole
from neoseg.training.module import MONITOR


class BestCheckpoint(Checkpoint):
    """Replace one file atomically after each validation whose mean Dice exceeds all before.

    The file holds the weights and what is needed to use them, without the optimizer: a run resumes
    from the last checkpoint, which must be written after this one, so that a repeated epoch starts
    from the same best value as its first pass. Of equal values the earlier is kept.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.dice: float | None = None

    def on_train_epoch_end(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        """Save if the validation of this epoch is the best so far."""
        metric = trainer.callback_metrics.get(MONITOR)
        dice = float("nan") if metric is None else float(metric)
        if trainer.sanity_checking or not dice > (-1.0 if self.dice is None else self.dice):
            return
        self.dice = dice
        save_whole(trainer, self.path, weights_only=True)

    def state_dict(self) -> dict[str, Any]:
        """Return the best value so far."""
        return {"dice": self.dice}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the best value of the interrupted run."""
        self.dice = state_dict["dice"]
