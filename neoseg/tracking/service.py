"""A run at a tracking service: a copy of the run folder's results, which may fail without harm."""

import logging
from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import wraps
from pathlib import Path
from typing import Any

import pandas as pd
from lightning.pytorch.loggers import Logger
from lightning.pytorch.utilities import rank_zero_only

from neoseg.errors import NeosegError
from neoseg.findings.privacy import Privacy
from neoseg.tracking.curves import CurveLogger

log = logging.getLogger(__name__)


class LoggerError(NeosegError):
    """A logger that cannot work here; the message says what to install."""


@dataclass(frozen=True)
class About:
    """Metadata by which a run is found among others.

    Attributes:
        name: of the run, such as "supervised-draw0-seed0".
        job_type: the arm.
        group: the sweep.
        tags: words to filter by.
        config: the configuration, except for what privacy withholds.
        privacy: what is withheld.
    """

    name: str
    job_type: str
    group: str | None = None
    tags: tuple[str, ...] = ()
    config: dict[str, Any] = field(default_factory=dict)
    privacy: Privacy = "none"


def guarded(method: Callable[..., None]) -> Callable[..., None]:
    """Run a method in the first process only, and keep a service's errors from the training."""

    @wraps(method)
    def wrapper(self: Any, *args: Any, **kwargs: Any) -> None:
        if self.broken or getattr(rank_zero_only, "rank", 0) != 0:
            return
        try:
            method(self, *args, **kwargs)
        except Exception as error:
            self.give_up(error)

    return wrapper


class ServiceRun(Logger):
    """Base class of the runs at all services.

    A run is opened by `rewind`, when training starts. Any failure of the service (no network, no
    space, no answer) is logged as one warning, after which nothing more is sent.

    Args:
        curves: the CSV logger, next to whose file the id is stored.
        about: name, group, tags and configuration.
    """

    service: str
    """Display name of the service."""

    def __init__(self, curves: CurveLogger, about: About) -> None:
        super().__init__()
        self.about = about
        self.broken = False
        self._curves = curves

    @property
    def version(self) -> str:
        """Empty: a training has one run."""
        return ""

    @guarded
    def rewind(self, step: int) -> None:
        """Open the run; steps before `step` may have to be sent again."""
        self._open()

    @guarded
    def log_metrics(self, metrics: Mapping[str, Any], step: int | None = None) -> None:
        """Send one row of numbers."""
        self._send(metrics, step)

    @guarded
    def log_hyperparams(self, params: Any, *args: Any, **kwargs: Any) -> None:
        """Do nothing: the run starts with the whole configuration."""

    @abstractmethod
    def log_results(
        self,
        values: Mapping[str, Any],
        scores: pd.DataFrame | None,
        page: str,
        files: Sequence[Path],
    ) -> None:
        """Send the final results of the run, as far as the service supports them.

        Args:
            values: numbers and text of the summary; numbers are points of a curve, too.
            scores: rows of `scores.csv`.
            page: the run card, HTML.
            files: files to attach, such as the run card.
        """

    @abstractmethod
    def close(self, failed: bool = False) -> None:
        """End the run, so that the next stage or job opens its own."""

    @abstractmethod
    def _open(self) -> None:
        """Start or continue the run; do nothing if it is open."""

    @abstractmethod
    def _send(self, content: Mapping[str, Any], step: int | None) -> None:
        """Send a row, opening the run if necessary."""

    def give_up(self, error: Exception) -> None:
        """Stop sending, and log why."""
        self.broken = True
        log.warning(
            "%s is switched off for the rest of this training, which goes on and is recorded in "
            "%s all the same (%s: %s)",
            self.service,
            self._curves.path,
            type(error).__name__,
            " ".join(str(error).split()) or "no reason given",
        )
