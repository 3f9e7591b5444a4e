"""A run on an MLflow server: a copy of the curves and results, which may break without harm."""

from __future__ import annotations

import json
import logging
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers import Logger
from lightning.pytorch.utilities import rank_zero_only
from pydantic import BaseModel, ConfigDict, Field

from neoseg.files import write_text
from neoseg.foreign import read_json
from neoseg.training.curves import CurveLogger
from neoseg.training.tensorboard import LoggerError
from neoseg.training.wandb_run import About, guarded

log = logging.getLogger(__name__)

STATE = "mlflow.json"
"""File beside the curves that keeps the id, so that a resumed training goes on as the same run."""

PATIENCE = {"MLFLOW_HTTP_REQUEST_TIMEOUT": "10", "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2"}
"""How long a server that does not answer may hold a training up."""

LONGEST, MOST = 500, 100
"""Characters of a value of the configuration, and values in one message."""


class MlflowSettings(BaseModel):
    """What a user writes under `logger.mlflow`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    uri: str | None = Field(default=None, description="of the tracking server; null: none")
    experiment: str = "neoseg"


class MlflowRun(Logger):
    """Sends curves, configuration and results to one run of MLflow, from the first process.

    The run is opened by `rewind`, when training starts; a resumed training goes on under the id of
    the one before and sends again what came after its checkpoint, the same values at the same
    steps. Whatever goes wrong is one warning, after which nothing more is sent.

    Args:
        settings: what the user chose, with a `uri`.
        curves: the CSV logger, in whose folder the id is kept.
        about: name, group, tags and configuration.

    Raises:
        LoggerError: MLflow is not installed.
    """

    def __init__(self, settings: MlflowSettings, curves: CurveLogger, about: About) -> None:
        super().__init__()
        if find_spec("mlflow") is None:
            raise LoggerError(
                f"logger.mlflow.uri is {settings.uri!r} (as logger=mlflow sets it), and MLflow is "
                "not installed; pip install 'neoseg[mlflow]', or use logger=csv"
            )
        self.settings = settings
        self.about = about
        self.broken = False
        self._curves = curves
        self._client: Any = None
        self._id = ""

    @property
    def name(self) -> str:
        """Name among the loggers."""
        return "mlflow"

    @property
    def version(self) -> str:
        """No versions: a training has one run."""
        return ""

    @guarded
    def rewind(self, step: int) -> None:
        """Open the run."""
        self._open()

    @guarded
    def log_metrics(self, metrics: Mapping[str, Any], step: int | None = None) -> None:
        """Send one row of numbers."""
        self._send(metrics, step or 0)

    def _send(self, metrics: Mapping[str, Any], step: int) -> None:
        from mlflow.entities import Metric

        self._open()
        now = int(time.time() * 1000)
        rows = [Metric(name, float(value), now, step) for name, value in metrics.items()]
        for part in _parts(rows):
            self._client.log_batch(self._id, metrics=part)

    @rank_zero_only
    def log_hyperparams(self, *args: Any, **kwargs: Any) -> None:
        """Do nothing: the run starts with the whole configuration."""

    @guarded
    def log_results(self, values: Mapping[str, Any], files: Sequence[Path]) -> None:
        """Send what the run reached: numbers of its summary, and files such as the run card."""
        numbers = {name: v for name, v in values.items() if isinstance(v, int | float)}
        rows = self._curves.rows
        self._send(numbers, int(rows[-1]["step"]) if rows else 0)
        for path in files:
            self._client.log_artifact(self._id, str(path))

    @guarded
    def close(self, failed: bool = False) -> None:
        """End the run, so that the next stage or job has one of its own."""
        client, self._client = self._client, None
        if client is not None:
            client.set_terminated(self._id, "FAILED" if failed else "FINISHED")

    def _open(self) -> None:
        if self._client is not None:
            return
        for name, value in PATIENCE.items():
            os.environ.setdefault(name, value)
        from mlflow import MlflowClient
        from mlflow.entities import Param

        client = MlflowClient(self.settings.uri)
        path = self._curves.path.with_name(STATE)
        if path.is_file():
            self._id = str(read_json(path, within=path.parent)["id"])
            client.update_run(self._id, "RUNNING")
        else:
            found = client.get_experiment_by_name(self.settings.experiment)
            experiment = (
                client.create_experiment(self.settings.experiment)
                if found is None
                else found.experiment_id
            )
            tags = {"arm": self.about.job_type, "sweep": self.about.group or ""}
            tags |= dict.fromkeys(self.about.tags, "")
            self._id = client.create_run(
                experiment, run_name=self.about.name, tags=tags
            ).info.run_id
            write_text(path, json.dumps({"id": self._id}) + "\n")
            values = [Param(key, value[:LONGEST]) for key, value in _plain(self.about.config)]
            for part in _parts(values):
                client.log_batch(self._id, params=part)
        self._client = client

    def give_up(self, error: Exception) -> None:
        """Send nothing more."""
        self.broken, self._client = True, None
        log.warning(
            "MLflow is switched off for the rest of this training, which goes on and is recorded "
            "in %s all the same (%s: %s)",
            self._curves.path,
            type(error).__name__,
            " ".join(str(error).split()) or "no reason given",
        )


def _plain(value: Any, prefix: str = "") -> Iterator[tuple[str, str]]:
    """Yield dotted keys of a configuration with their values as text."""
    if isinstance(value, dict):
        for key, below in value.items():
            yield from _plain(below, f"{prefix}.{key}" if prefix else str(key))
    else:
        yield prefix, str(value)


def _parts(items: Sequence[Any]) -> Iterator[list[Any]]:
    for start in range(0, len(items), MOST):
        yield list(items[start : start + MOST])
