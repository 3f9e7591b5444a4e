"""A tiny phantom that all command tests share, and a way to compose `train`."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path

import lightning
import pytest
import torch
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from omegaconf import DictConfig
from quick import quick_runs

from neoseg.configuration.config import CONFIG_DIR

PHANTOM = ["cohort.phantom.subjects=6", "cohort.phantom.spacing=4.0", "cohort.workers=1"]
TINY = [
    "patches.size=[32,32,32]",
    "patches.batch_size=2",
    "patches.steps_per_epoch=2",
    "patches.workers=0",
    "trainer.max_epochs=1",
    "trainer.accelerator=cpu",
    "trainer.enable_progress_bar=false",
    "logger.wandb.mode=disabled",
    "window.overlap=0.0",
    "pictures=0",
]


@pytest.fixture
def quick() -> Iterator[None]:
    """Trainings whose registration and curves are not what a test is about."""
    with quick_runs():
        yield


@pytest.fixture(scope="session")
def data_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("data")


@pytest.fixture
def compose_train(data_folder: Path) -> Callable[..., DictConfig]:
    def make(*overrides: str) -> DictConfig:
        other = any(item.startswith("cohort=") for item in overrides)
        tiny = [*([] if other else PHANTOM), *TINY, f"paths.data={data_folder}"]
        with initialize_config_dir(str(CONFIG_DIR), version_base="1.3"):
            return compose("train", [*tiny, *overrides])

    return make


SMALL = ("network.net.channels=[4,8]", "network.net.strides=[2]", "network.divisor=2")


@pytest.fixture
def untrained(compose_train: Callable[..., DictConfig], tmp_path: Path) -> Callable[..., Path]:
    """Make a run folder of a small network that has not learnt: `untrained("seed=1", …)`."""
    from neoseg.configuration.run import RunConfig
    from neoseg.runs.run import planned

    def make(*overrides: str) -> Path:
        parsed = RunConfig.parse(compose_train(*SMALL, *overrides))
        run = tmp_path / "run"
        torch.manual_seed(0)
        module = parsed.module(planned(parsed, run))
        (run / "checkpoints").mkdir()
        content = {"state_dict": module.state_dict(), "hyper_parameters": dict(module.hparams)}
        torch.save(content, run / "checkpoints" / "last.ckpt")
        return run

    return make


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch) -> Callable[..., int]:
    """Run a command in this process, `command("export", "run=DIR", …)`; return its status."""

    def call(name: str, *arguments: object) -> int:
        GlobalHydra.instance().clear()
        monkeypatch.setattr(sys, "argv", [name, *map(str, arguments)])
        try:
            import_module(f"neoseg.{name}").main()
        except SystemExit as stop:
            return int(stop.code or 0)
        return 0

    return call


@pytest.fixture
def make_run(compose_train: Callable[..., DictConfig], tmp_path: Path) -> Callable[..., Path]:
    """Write the checkpoint of a network that was never trained."""

    def make(name: str, *overrides: str, seed: int = 0) -> Path:
        from neoseg.configuration.run import RunConfig

        config = compose_train(*overrides)
        torch.manual_seed(seed)
        run = RunConfig.parse(config)
        module = run.module(run.plan())
        if module.teacher is not None:
            with torch.no_grad():
                next(iter(module.teacher.parameters())).mul_(-3)
        path = tmp_path / "runs" / name / "checkpoints" / "last.ckpt"
        path.parent.mkdir(parents=True)
        content = {
            "state_dict": module.state_dict(),
            "hyper_parameters": dict(module.hparams),
            "pytorch-lightning_version": lightning.__version__,
        }
        torch.save(content, path)
        return path.parents[1]

    return make


@pytest.fixture
def tree(make_run: Callable[..., Path], data_folder: Path) -> Path:
    """The phantom that the runs were composed with, a dHCP tree of release 3."""
    make_run("unused")
    return next((data_folder / "phantom").glob("*/derivatives")).parent
