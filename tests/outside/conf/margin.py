"""A loss and a callback in a file beside a user's configurations."""

from pathlib import Path
from typing import Any

from lightning.pytorch.callbacks import Callback
from torch import Tensor

from neoseg.losses.term import MULTILABEL, DenseTerm, Prediction, look_up, masked_mean


class Margin(DenseTerm):
    """Hinge loss over the known classes."""

    heads = frozenset({MULTILABEL})

    def compute(self, prediction: Prediction, codes: Tensor) -> Tensor:
        """Return the mean over voxels and classes of which something is known."""
        truth = look_up(self.membership, codes)
        sign = 2.0 * truth.clamp(min=0) - 1.0
        return masked_mean((1.0 - sign * prediction.logits).clamp(min=0), truth >= 0)


class Note(Callback):
    """Notes each epoch in a file."""

    def __init__(self, path: str) -> None:
        self.path = Path(path)

    def on_train_epoch_end(self, trainer: Any, module: Any) -> None:
        """Add a line."""
        with self.path.open("a") as file:
            file.write(f"{trainer.current_epoch}\n")
