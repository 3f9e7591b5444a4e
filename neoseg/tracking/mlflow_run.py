"""A run on an MLflow server: a copy of the curves and results, which may fail without harm."""

import os
import time
from collections.abc import Iterator, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pandas as pd
from pydantic import Field, field_validator

from neoseg.files import write_json
from neoseg.findings.settings import ConfigError, Section, dotted
from neoseg.foreign import read_json
from neoseg.tracking.curves import CurveLogger
from neoseg.tracking.service import About, LoggerError, ServiceRun, guarded

STATE = "mlflow.json"
"""File beside the curves that holds the run's id, so that a resumed training continues it."""

PATIENCE = {"MLFLOW_HTTP_REQUEST_TIMEOUT": "10", "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2"}
"""Limits on how long an unresponsive server can delay a training."""

MAX_CHARACTERS, MAX_ITEMS = 500, 100
"""Limits: characters of a configuration value, and items in one request."""


class MlflowSettings(Section):
    """Settings under `logger.mlflow`."""

    uri: str | None = Field(default=None, description="of the tracking server; null: none")
    experiment: str = "neoseg"

    @field_validator("uri")
    @classmethod
    def _has_no_password(cls, uri: str | None) -> str | None:
        if uri is not None and urlsplit(uri).password is not None:
            raise ConfigError(  # names the key: the value must not be shown
                "logger.mlflow.uri has a password, which the files of the run would keep; give "
                "it in the environment, MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD"
            )
        return uri


class MlflowRun(ServiceRun):
    """Send curves, configuration and results to one MLflow run, from the first process.

    A resumed training continues under the same id and sends again what came after its checkpoint,
    the same values at the same steps.

    Args:
        settings: with a `uri`.
        curves: the CSV logger, next to whose file the id is stored.
        about: name, group, tags and configuration.

    Raises:
        LoggerError: MLflow is not installed.
    """

    service = "MLflow"

    def __init__(self, settings: MlflowSettings, curves: CurveLogger, about: About) -> None:
        super().__init__(curves, about)
        if find_spec("mlflow") is None:
            raise LoggerError(
                f"logger.mlflow.uri is {settings.uri!r} (as logger=mlflow sets it), and MLflow is "
                "not installed; pip install 'neoseg[mlflow]', or use logger=csv"
            )
        self.settings = settings
        self._client: Any = None
        self._id = ""

    @property
    def name(self) -> str:
        """Name among the loggers."""
        return "mlflow"

    def _send(self, content: Mapping[str, Any], step: int | None) -> None:
        from mlflow.entities import Metric

        self._open()
        now = int(time.time() * 1000)
        rows = [Metric(name, float(value), now, step or 0) for name, value in content.items()]
        for chunk in _chunks(rows):
            self._client.log_batch(self._id, metrics=chunk)

    @guarded
    def log_results(
        self,
        values: Mapping[str, Any],
        scores: pd.DataFrame | None,
        page: str,
        files: Sequence[Path],
    ) -> None:
        """Send the numbers and the files."""
        numbers = {name: v for name, v in values.items() if isinstance(v, int | float)}
        rows = self._curves.rows
        self._send(numbers, int(rows[-1]["step"]) if rows else 0)
        for path in files:
            self._client.log_artifact(self._id, str(path))

    @guarded
    def close(self, failed: bool = False) -> None:
        """End the run, so that the next stage or job opens its own."""
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
            existing = client.get_experiment_by_name(self.settings.experiment)
            experiment = (
                client.create_experiment(self.settings.experiment)
                if existing is None
                else existing.experiment_id
            )
            tags = {"arm": self.about.job_type, "sweep": self.about.group or ""}
            tags |= dict.fromkeys(self.about.tags, "")
            self._id = client.create_run(
                experiment, run_name=self.about.name, tags=tags
            ).info.run_id
            write_json(path, {"id": self._id})
            params = [
                Param(k, str(v)[:MAX_CHARACTERS]) for k, v in dotted(self.about.config).items()
            ]
            for chunk in _chunks(params):
                client.log_batch(self._id, params=chunk)
        self._client = client

    def give_up(self, error: Exception) -> None:
        """Stop sending."""
        super().give_up(error)
        self._client = None


def _chunks(items: Sequence[Any]) -> Iterator[list[Any]]:
    for start in range(0, len(items), MAX_ITEMS):
        yield list(items[start : start + MAX_ITEMS])
