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
from neoseg.configuration.assembly import (
    annotated_of,
    cohort_of,
    data_of,
    space_of,
    split_of,
)
from neoseg.patches.datamodule import MixedDataModule
from neoseg.training.overlays import Overlays
from neoseg.training.wandb_run import WandbSettings


class Watched:
    """A mirror that keeps what it is given."""

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
    cohort = cohort_of(config, space_of(config))
    annotated = annotated_of(config, cohort, split_of(config, cohort))
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
    module = data_of(config, Plan(sources, annotated.codebook), with_teacher=False)
    module.prepare_data()
    module.setup()
    return module


def validate(
    data: MixedDataModule, mirror: Watched, epochs: tuple[int, ...] = (0,), **trainer: Any
) -> None:
    state = {"sanity_checking": False, "is_global_zero": True, "max_epochs": 10, "global_step": 7}
    callback = Overlays(mirror)  # type: ignore[arg-type]
    for epoch in epochs:
        told = SimpleNamespace(datamodule=data, current_epoch=epoch, **(state | trainer))
        for number, sample in enumerate(data.val_dataloader()):
            leaves = torch.zeros(sample.codes.shape, dtype=torch.uint8)
            callback.on_validation_batch_end(told, None, leaves, sample, number)  # type: ignore


def test_hidden_structures_are_not_in_the_truth(data: MixedDataModule) -> None:
    mirror = Watched()
    validate(data, mirror)
    space = data.annotated.space
    tcv = next(entry.leaves for entry in space.classes if entry.abbreviation == "TCV")
    codebook = data.annotated.codebook
    hidden = {leaf + 1 for leaf in tcv}
    for number, (place, caption, planes, book, step) in enumerate(mirror.calls):
        assert (place, step, book) == (number + 1, 6, codebook)
        assert caption == data.annotated.of_split("val")[number][0].id
        shown = set(np.unique(np.stack([plane.truth for plane in planes])))
        assert codebook.code(tcv) in shown
        assert not shown & hidden
    assert len(mirror.calls) == 2


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
    mirror = Watched(**settings)
    validate(data, mirror, epochs, **trainer)
    assert len(mirror.calls) == expected
