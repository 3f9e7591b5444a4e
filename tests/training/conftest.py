"""Tiny runs on a phantom cohort that is generated once."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig

from neoseg.configuration.config import CONFIG_DIR

sys.path.insert(0, str(Path(__file__).parent))

TINY = (
    "cohort.phantom.subjects=6",
    "cohort.phantom.spacing=5.0",
    "cohort.workers=1",
    "patches.size=[16,16,16]",
    "patches.batch_size=2",
    "patches.steps_per_epoch=4",
    "patches.workers=0",
    "network.divisor=2",
    "network.net.channels=[4,8]",
    "network.net.strides=[2]",
    "+network.net.dropout=0.2",
    "optimizer.warmup_steps=2",
    "window.overlap=0.0",
    "trainer.accelerator=cpu",
    "trainer.max_epochs=2",
    "trainer.log_every_n_steps=1",
    "trainer.enable_progress_bar=false",
    "+trainer.num_sanity_val_steps=0",
    "logger.wandb.mode=disabled",
    "score=false",
)
"""Two epochs of four steps."""


@pytest.fixture(scope="session")
def data_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the phantom and its store lie, for all tests."""
    return tmp_path_factory.mktemp("data")


@pytest.fixture(scope="session")
def tiny(data_folder: Path) -> Callable[..., list[str]]:
    """Return the overrides of a tiny run of an experiment."""

    def overrides(experiment: str, *more: str) -> list[str]:
        return [f"+experiment={experiment}", *TINY, f"paths.data={data_folder}", *more]

    return overrides


@pytest.fixture
def configured(tiny: Callable[..., list[str]]) -> Callable[..., DictConfig]:
    """Compose the configuration of a tiny run."""

    def composed(experiment: str, *more: str) -> DictConfig:
        with initialize_config_dir(str(CONFIG_DIR), version_base="1.3"):
            return compose("train", tiny(experiment, *more))

    return composed
