"""What makes a run tiny (a phantom, patches and a network that take seconds), and running it."""

from __future__ import annotations

from pathlib import Path

from omegaconf import DictConfig

from neoseg.configuration.run import RunConfig
from neoseg.inference.checkpoint import predicting_checkpoint
from neoseg.runs import run
from neoseg.training.module import SegmentationModule, restored

TINY = (
    "cohort.phantom.subjects=6",
    "cohort.phantom.spacing=5.0",
    "cohort.workers=1",
    "patches.size=[16,16,16]",
    "patches.batch_size=2",
    "patches.workers=0",
    "network.divisor=2",
    "network.net.channels=[4,8]",
    "network.net.strides=[2]",
    "window.overlap=0.0",
    "trainer.accelerator=cpu",
    "trainer.enable_progress_bar=false",
    "+trainer.num_sanity_val_steps=0",
)


def train(config: DictConfig, folder: Path) -> float:
    """Run a composed configuration as the command does."""
    return run.train(RunConfig.parse(config), folder)


def load_module(run: Path) -> SegmentationModule:
    """Return the whole module of a run, with all that it learns by."""
    return restored(predicting_checkpoint(run))
