"""Overlays show what the annotation of a validation scan tells, and nothing that it hides."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from omegaconf import DictConfig

from neoseg.cohort import Plan
from neoseg.configuration.run import RunConfig
from neoseg.patches.datamodule import MixedDataModule
from neoseg.tracking.overlays import Overlays
from neoseg.tracking.wandb_run import WandbSettings


class Watched:
    """A run that keeps what it is given."""

    broken = False

    def __init__(self, **settings: Any) -> None:
        self.settings = WandbSettings(**settings)
        self.calls: list[tuple[Any, ...]] = []

    def log_overlay(self, *arguments: Any) -> None:
        self.calls.append(arguments)


@pytest.fixture(scope="module")
def data(configured: Callable[..., DictConfig]) -> MixedDataModule:
    """Two validation scans, annotated as the partial training scans are."""
    config = configured("split.fractions=[0.5,0.34,0.16]")
    run = RunConfig.parse(config)
    annotated = run.plan()
    partial = next(a.protocol for a in annotated.assignments if a.stream == "partial")
    sources = tuple(
        replace(
            source,
            assignments=tuple(
                replace(a, protocol=partial) if a.split == "val" else a for a in source.assignments
            ),
        )
        for source in annotated.sources
    )
    module = run.data(Plan(sources, annotated.codebook), with_teacher=False)
    module.prepare_data()
    module.setup()
    return module


def validate(
    data: MixedDataModule, run: Watched, epochs: tuple[int, ...] = (0,), **trainer: Any
) -> None:
    state = {"sanity_checking": False, "is_global_zero": True, "max_epochs": 10, "global_step": 7}
    callback = Overlays(run)  # type: ignore[arg-type]
    for epoch in epochs:
        told = SimpleNamespace(datamodule=data, current_epoch=epoch, **(state | trainer))
        for number, sample in enumerate(data.val_dataloader()):
            leaves = torch.zeros(sample.codes.shape, dtype=torch.uint8)
            callback.on_validation_batch_end(told, None, leaves, sample, number)  # type: ignore


def test_hidden_structures_are_not_in_the_truth(data: MixedDataModule) -> None:
    run = Watched()
    validate(data, run)
    space = data.annotated.space
    tcv = next(entry.leaves for entry in space.classes if entry.abbreviation == "TCV")
    codebook = data.annotated.codebook
    hidden = {leaf + 1 for leaf in tcv}
    for number, (place, caption, planes, book, step) in enumerate(run.calls):
        assert (place, step, book) == (number + 1, 6, codebook)
        assert caption == data.annotated.of_split("val")[number][0].id
        shown = set(np.unique(np.stack([plane.truth for plane in planes])))
        assert codebook.code(tcv) in shown
        assert not shown & hidden
    assert len(run.calls) == 2


@pytest.mark.parametrize(
    ("settings", "epochs", "trainer", "expected"),
    [
        ({"overlays": 1}, (0,), {}, 1),
        ({"overlays": 9}, (0, 1), {}, 4),
        ({"overlays": 1, "overlay_every": 2}, (0, 1, 2, 3), {}, 2),
        ({"overlays": 1, "overlay_every": 4}, (0, 1, 2), {"max_epochs": 3}, 1),
        ({"overlays": 1}, (0,), {"sanity_checking": True}, 0),
        ({"overlays": 1}, (0,), {"is_global_zero": False}, 0),
    ],
)
def test_how_many_and_when(
    settings: dict[str, int],
    epochs: tuple[int, ...],
    trainer: dict[str, Any],
    expected: int,
    data: MixedDataModule,
) -> None:
    run = Watched(**settings)
    validate(data, run, epochs, **trainer)
    assert len(run.calls) == expected
