"""Callbacks that a configuration names."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch.callbacks import Callback

from neoseg.findings.settings import ConfigError
from neoseg.training.own_callbacks import (
    make_own_callbacks,
    require_callbacks,
    require_plain_state,
)

MONITOR = "lightning.pytorch.callbacks.LearningRateMonitor"


class Keeper(Callback):
    """Keeps a value in the checkpoint."""

    def __init__(self, value: Any) -> None:
        self.value = value

    def state_dict(self) -> dict[str, Any]:
        return {"value": self.value}


def test_those_that_only_look_may_be_named_by_anybody() -> None:
    node = {"_target_": MONITOR, "logging_interval": "step"}
    require_callbacks([node])
    (made,) = make_own_callbacks([node])
    assert made.logging_interval == "step"


@pytest.mark.parametrize(
    ("node", "told"),
    [
        ({}, "expected {_target_: CLASS"),
        ({"_target_": MONITOR, "_partial_": True}, "without _partial_"),
        ({"_target_": "lightning.pytorch.callbacks.ModelCheckpoint"}, r"allow=\[lightning\]"),
        ({"_target_": "torch.nn.Linear"}, r"allow=\[torch\]"),
    ],
)
def test_others_are_refused(node: dict[str, Any], told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        require_callbacks([node])


def test_arguments_that_a_class_does_not_take_are_told() -> None:
    with pytest.raises(ConfigError, match=rf"callbacks\[0\]: {MONITOR} cannot be made"):
        make_own_callbacks([{"_target_": MONITOR, "interval": "step"}])


def test_a_state_that_no_checkpoint_could_give_back_is_told() -> None:
    require_plain_state([Keeper({"a": [1, 2.0, "b", torch.ones(2)]})])
    for value in (Path("a"), lambda: None):
        with pytest.raises(ConfigError, match=r"Keeper\.state_dict\(\) has more than numbers"):
            require_plain_state([Keeper(value)])
