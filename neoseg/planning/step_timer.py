"""Measure how long parts of a training step take."""

import warnings
from collections.abc import Callable
from copy import copy
from dataclasses import dataclass

import torch

from neoseg.patches.batch import Batch, collate
from neoseg.patches.dataset import PatchDataset
from neoseg.planning.topology import Shape
from neoseg.training.module import SegmentationModule

REPEATS = 3
"""Number of measurements of forward and backward pass."""


@dataclass(frozen=True)
class StepTimer:
    """Measure parts of a training step on a device, "cpu" or "cuda"; `clock` returns seconds."""

    module: SegmentationModule
    dataset: PatchDataset
    device: str
    half_precision: bool
    clock: Callable[[], float]

    def seconds(self, work: Callable[[], object]) -> float:
        """Return how long `work` takes."""
        start = self._now()
        work()
        return self._now() - start

    def passes(self, size: Shape, items: int) -> float:
        """Return the seconds of forward and backward pass for a batch, the minimum of repeats."""
        small = copy(self.dataset)
        small.patches = self.dataset.patches.model_copy(update={"size": size})
        batch = collate([small[0, item] for item in range(items)])
        assert isinstance(batch, Batch)
        batch = batch.to(self.device).with_intensities()
        return min(self.seconds(lambda: self._learn_from(batch)) for _ in range(REPEATS))

    def _learn_from(self, batch: Batch) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Lightning's: there is no trainer to log to
            with torch.autocast(self.device, torch.bfloat16, enabled=self.half_precision):
                loss = self.module.training_step(batch, 0)
            loss.backward()

    def _now(self) -> float:
        if self.device == "cuda":
            torch.cuda.synchronize()
        return self.clock()
