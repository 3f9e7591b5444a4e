"""What the commands have in common: composing the configuration and ending with one message."""

from __future__ import annotations

import logging
import sys
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
from neoseg.evaluation import ReportError
from neoseg.inference import DerivativeError
from neoseg.labels import LabelError
from neoseg.losses import LossError
from neoseg.networks import NetworkError

USER_ERRORS = (
    CohortError,
    ConfigError,
    DataError,
    DerivativeError,
    LabelError,
    LossError,
    NetworkError,
    ReportError,
)
"""Errors whose message says what to do; a traceback would only hide it."""

log = logging.getLogger(__name__)


def command(name: str) -> Callable[[Callable[[DictConfig], object]], Callable[[], None]]:
    """Make a command of a function of the configuration `conf/<name>.yaml`.

    An error for the user ends a single run with its message and exit status 2; in a sweep it
    fails its own job alone.
    """

    def decorate(function: Callable[[DictConfig], object]) -> Callable[[], None]:
        @wraps(function)
        def guarded(config: DictConfig) -> object:
            try:
                return function(config)
            except USER_ERRORS as error:
                if HydraConfig.get().mode == RunMode.MULTIRUN:
                    raise
                log.error("%s", error)
                sys.exit(2)

        return hydra.main(version_base="1.3", config_path=str(CONFIG_DIR), config_name=name)(guarded)

    return decorate
