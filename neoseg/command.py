"""What the commands have in common: composing the configuration and ending with one message."""

from __future__ import annotations

import logging
import sys
import warnings
from collections.abc import Callable
from functools import wraps

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig

from neoseg.assembly import ConfigError
from neoseg.cohort import CohortError
from neoseg.config import CONFIG_DIR
from neoseg.data import DataError
from neoseg.evaluation import CardError, ReportError
from neoseg.inference import DerivativeError
from neoseg.labels import LabelError
from neoseg.losses import LossError
from neoseg.networks import NetworkError
from neoseg.training.loggers import LoggerError

USER_ERRORS = (
    CardError,
    CohortError,
    ConfigError,
    DataError,
    DerivativeError,
    LabelError,
    LoggerError,
    LossError,
    NetworkError,
    ReportError,
)
"""Errors whose message says what to do; a traceback would only hide it."""

log = logging.getLogger(__name__)


def quieten() -> None:
    """Silence notes of libraries that tell a user of these commands nothing."""
    for name in ("lightning.pytorch.utilities.rank_zero", "lightning.fabric.utilities.seed"):
        logging.getLogger(name).setLevel(logging.WARNING)
    for message in (
        r"`isinstance\(treespec, LeafSpec\)` is deprecated",
        r"The number of training batches \(\d+\) is smaller than the logging interval",
        r"Found \d+ module\(s\) in eval mode at the start of training",  # the teacher, on purpose
        r"The '\w+_dataloader' does not have many workers",
        r"Experiment logs directory .* exists and is not empty",
    ):
        warnings.filterwarnings("ignore", message=message)


def command(name: str) -> Callable[[Callable[[DictConfig], object]], Callable[[], None]]:
    """Make a command of a function of the configuration `conf/<name>.yaml`.

    An error for the user ends a single run with its message and exit status 2; in a sweep it
    fails its own job alone.
    """

    def decorate(function: Callable[[DictConfig], object]) -> Callable[[], None]:
        @wraps(function)
        def guarded(config: DictConfig) -> object:
            quieten()
            try:
                return function(config)
            except USER_ERRORS as error:
                if HydraConfig.get().mode == RunMode.MULTIRUN:
                    raise
                log.error("%s", error)
                sys.exit(2)

        return hydra.main(version_base="1.3", config_path=str(CONFIG_DIR), config_name=name)(
            guarded
        )

    return decorate
