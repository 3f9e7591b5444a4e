"""One tiny run that W&B records offline, and what its own `wandb sync` makes of it."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig
from tiny_run import train

from neoseg.configuration.config import CONFIG_DIR

sys.path.insert(0, str(Path(__file__).parent))

from recording_server import RecordingServer, recording, sync
from small_wandb_run import Recorded
from tiny_run import TINY

RUN = (
    *TINY,
    "patches.steps_per_epoch=2",
    "trainer.max_epochs=2",
    "trainer.log_every_n_steps=1",
    "pictures=0",
    "scoring.views=false",
)


@pytest.fixture(scope="session")
def data_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("data")


@pytest.fixture(scope="session")
def configured(data_folder: Path) -> Callable[..., DictConfig]:
    """Compose the configuration of a tiny run."""

    def composed(*overrides: str) -> DictConfig:
        given = ["+experiment=partial_superclass", *RUN, f"paths.data={data_folder}", *overrides]
        with initialize_config_dir(str(CONFIG_DIR), version_base="1.3"):
            return compose("train", given)

    return composed


@pytest.fixture
def server() -> Iterator[RecordingServer]:
    with recording() as found:
        yield found


@pytest.fixture(scope="session")
def recorded(
    configured: Callable[..., DictConfig], tmp_path_factory: pytest.TempPathFactory
) -> Recorded:
    """A job of the sweep "ablation", sent to the server when it had ended."""
    runs = tmp_path_factory.mktemp("runs")
    folder = runs / "sweeps" / "ablation" / "job"
    options = ("sweep=ablation", "logger.wandb.tags=[tried]", "logger.wandb.overlays=1")
    train(configured(f"paths.runs={runs}", "split.fractions=[0.5,0.34,0.16]", *options), folder)
    with recording() as server:
        sync(server, sorted((folder / "wandb").glob("offline-run-*")), runs)
        (run,) = server.runs.values()
        return Recorded(folder, run, server.files)
