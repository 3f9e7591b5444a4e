"""Step curves as TensorBoard event files, if requested and installed."""

from importlib.util import find_spec
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.utilities import rank_zero_only

from neoseg.findings.settings import Section
from neoseg.tracking.service import LoggerError

FOLDER = "tensorboard"

WRITERS = ("tensorboard", "tensorboardX")
"""Packages of which at least one is required."""


class TensorBoardSettings(Section):
    """Settings under `logger.tensorboard`."""

    enabled: bool = False


class TensorBoardCurves(TensorBoardLogger):
    """Write curves to `tensorboard/` in the folder of a training; nothing else.

    Raises:
        LoggerError: TensorBoard is not installed.
    """

    def __init__(self, folder: Path) -> None:
        if not any(find_spec(name) for name in WRITERS):
            raise LoggerError(
                "logger.tensorboard.enabled is true (as logger=tensorboard sets it), and neither "
                f"{' nor '.join(WRITERS)} is installed; pip install 'neoseg[tensorboard]', or use "
                "logger=csv"
            )
        self.folder = folder
        self._begin()

    def _begin(self, **options: Any) -> None:
        """Start over with a new event file, which is created at the first write."""
        super().__init__(self.folder, FOLDER, version="", default_hp_metric=False, **options)

    @rank_zero_only
    def log_hyperparams(self, *args: Any, **kwargs: Any) -> None:
        """Do nothing: `config.yaml` holds them."""

    @rank_zero_only
    def rewind(self, step: int) -> None:
        """Start a new event file that supersedes everything logged from `step` on."""
        if step:
            self.experiment.close()
            self._begin(purge_step=step)

    @rank_zero_only
    def save(self) -> None:
        """Flush buffered events to the file."""
        self.experiment.flush()
