"""Tiny runs on a phantom cohort that is generated once."""

from __future__ import annotations

import copy
import sys
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig

from neoseg.configuration.config import CONFIG_DIR

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
sys.path.insert(0, str(Path(__file__).parent))

from quick import quick_runs
from tiny_run import TINY

RUN = (
    *TINY,
    "patches.steps_per_epoch=4",
    "network.net.dropout=0.2",
    "optimizer.warmup_steps=2",
    "trainer.max_epochs=2",
    "trainer.log_every_n_steps=1",
    "logger.wandb.mode=disabled",
    "score=false",
)
"""Two epochs of four steps."""


@pytest.fixture(scope="module", autouse=True)
def quick() -> Iterator[None]:
    """Neither registration nor curves are meant here."""
    with quick_runs():
        yield


@cache
def composed_once(overrides: tuple[str, ...]) -> DictConfig:
    with initialize_config_dir(str(CONFIG_DIR), version_base="1.3"):
        return compose("train", list(overrides))


@pytest.fixture(scope="session")
def data_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the phantom and its store lie, for all tests."""
    return tmp_path_factory.mktemp("data")


@pytest.fixture(scope="session")
def tiny(data_folder: Path) -> Callable[..., list[str]]:
    """Return the overrides of a tiny run of an experiment."""

    def overrides(experiment: str, *more: str) -> list[str]:
        return [f"+experiment={experiment}", *RUN, f"paths.data={data_folder}", *more]

    return overrides


@pytest.fixture
def configured(tiny: Callable[..., list[str]]) -> Callable[..., DictConfig]:
    """Compose the configuration of a tiny run."""

    def composed(experiment: str, *more: str) -> DictConfig:
        return copy.deepcopy(composed_once(tuple(tiny(experiment, *more))))

    return composed
