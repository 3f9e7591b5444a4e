"""An MLflow server on the loopback hears what `metrics.csv` holds; without one nothing stops."""

from __future__ import annotations

import json
import logging
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path

import pytest

from neoseg.findings.settings import ConfigError
from neoseg.tracking import METRICS, mlflow_run
from neoseg.tracking.curves import CurveLogger
from neoseg.tracking.loggers import LoggerError, LoggerSettings, make_loggers
from neoseg.tracking.mlflow_run import MlflowRun, MlflowSettings
from neoseg.tracking.service import About

CONFIG = {"seed": 3, "loss": {"iuc": {"weight": 1.0}}, "long": "x" * 900}
ABOUT = About("arm-draw0-seed3", "arm", "sweep", ("phantom",), CONFIG)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    try:
        version("mlflow")
    except PackageNotFoundError:
        pytest.skip("MLflow's server is not installed (pip install mlflow)")
    folder = tmp_path_factory.mktemp("mlflow")
    uri = f"http://127.0.0.1:{free_port()}"
    words = ["server", "--host", "127.0.0.1", "--port", uri.rpartition(":")[2], "--workers", "1"]
    words += [
        "--backend-store-uri",
        f"sqlite:///{folder / 'db'}",
        "--artifacts-destination",
        folder,
    ]
    process = subprocess.Popen(
        [sys.executable, "-m", "mlflow", *map(str, words)],
        cwd=folder,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        end = time.monotonic() + 240
        while not answers(uri):
            assert process.poll() is None, "the server has ended"
            assert time.monotonic() < end, "the server does not answer"
            time.sleep(0.5)
        yield uri
    finally:
        os.killpg(process.pid, signal.SIGKILL)  # with the workers that it has started
        process.wait(20)


def answers(uri: str) -> bool:
    try:
        return urllib.request.urlopen(f"{uri}/health", timeout=5).status == 200
    except OSError:
        return False


@pytest.mark.slow
def test_the_server_hears_all(server: str, tmp_path: Path) -> None:
    from mlflow import MlflowClient

    curves = CurveLogger(tmp_path / METRICS)
    settings = MlflowSettings(uri=server, experiment="tests")
    for start in (0, 2):  # interrupted, and resumed from an earlier step
        run = MlflowRun(settings, curves, ABOUT)
        curves.rewind(start)
        run.rewind(start)
        for step in range(start, start + 3):
            row = {"train/loss": 1.0 / (step + 1), "val/dice/cGM": 0.1 * step}
            for logger in (curves, run):
                logger.log_metrics(row, step=step)
    (tmp_path / "card.md").write_text("the card")
    run.log_results({"test/dice": 0.5, "limits": "text"}, None, "", [tmp_path / "card.md"])
    run.close()

    client = MlflowClient(server)
    found = client.get_run(json.loads((tmp_path / mlflow_run.STATE).read_text())["id"])
    assert (found.info.status, found.info.run_name) == ("FINISHED", "arm-draw0-seed3")
    assert found.data.tags.items() >= {"arm": "arm", "sweep": "sweep", "phantom": ""}.items()
    assert found.data.params["loss.iuc.weight"] == "1.0"
    assert len(found.data.params["long"]) == 500
    history = client.get_metric_history(found.info.run_id, "train/loss")
    steps = {point.step: point.value for point in history}
    assert steps == {row["step"]: pytest.approx(row["train/loss"]) for row in curves.rows}
    assert found.data.metrics["test/dice"] == 0.5
    assert [entry.path for entry in client.list_artifacts(found.info.run_id)] == ["card.md"]


@pytest.mark.skipif(find_spec("mlflow") is None, reason="MLflow is not installed")
def test_a_server_that_is_away_is_one_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    settings = MlflowSettings(uri=f"http://127.0.0.1:{free_port()}")
    run = MlflowRun(settings, CurveLogger(tmp_path / METRICS), ABOUT)
    run.rewind(0)
    run.log_metrics({"train/loss": 1.0}, step=0)
    run.close()
    warnings = [r.getMessage() for r in caplog.records if r.levelno == logging.WARNING]
    assert len([text for text in warnings if "MLflow is switched off" in text]) == 1


def test_it_is_asked_for_by_its_address(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = LoggerSettings.model_validate({"wandb": {"mode": "disabled"}})
    config = {"annotation": {"draw": 0}, "seed": 0}
    assert len(make_loggers(tmp_path, tmp_path, settings, "arm", None, config)) == 1
    wanted = settings.model_copy(update={"mlflow": MlflowSettings(uri="http://127.0.0.1:1")})
    monkeypatch.setattr(mlflow_run, "find_spec", lambda name: None)
    with pytest.raises(LoggerError, match=r"pip install 'neoseg\[mlflow\]'"):
        make_loggers(tmp_path, tmp_path, wanted, "arm", None, config)
    monkeypatch.setattr(mlflow_run, "find_spec", lambda name: object())
    found = make_loggers(tmp_path, tmp_path, wanted, "arm", None, config)
    assert [type(logger) for logger in found] == [CurveLogger, MlflowRun]


def test_a_password_in_the_address_is_refused_and_not_repeated() -> None:
    """What is configured is written into the run folder, which labs hand on."""
    with pytest.raises(ConfigError, match="MLFLOW_TRACKING_PASSWORD") as error:
        MlflowSettings.read({"uri": "http://me:hunter2@127.0.0.1:1"}, "logger.mlflow")
    assert "hunter2" not in str(error.value)
    assert MlflowSettings(uri="http://me@127.0.0.1:1").uri
