"""A callback."""

from pathlib import Path
from typing import Any

from lightning.pytorch.callbacks import Callback


class Note(Callback):
    """Notes each epoch in a file."""

    def __init__(self, path: str) -> None:
        self.path = Path(path)

    def on_train_epoch_end(self, trainer: Any, module: Any) -> None:
        """Add a line."""
        with self.path.open("a") as file:
            file.write(f"{trainer.current_epoch}\n")
