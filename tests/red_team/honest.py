"""Honest runs and checkpoints, small, for a test to spoil."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from functools import cache
from pathlib import Path
from typing import Any

import torch
import yaml

from neoseg.configuration.config import CONFIG_DIR
from neoseg.configuration.run import RunConfig
from neoseg.inference.model import ModelSpec

TABLE: dict[str, Any] = {
    "name": "small",
    "background": 0,
    "leaves": [
        {"index": n, "name": name, "abbreviation": name[:2], "color": "#00ff00"}
        for n, name in enumerate(("Clear", "Fluid", "Grey"))
    ],
}
NETWORK: dict[str, Any] = {
    "name": "unet3d",
    "divisor": 2,
    "net": {
        "_target_": "monai.networks.nets.UNet",
        "spatial_dims": 3,
        "channels": [2, 4],
        "strides": [2],
    },
}
MODEL: dict[str, Any] = {
    "labels": TABLE,
    "label_sets": [[0, 1, 2], [0], [1], [2]],
    "modalities": ["T2w"],
    "prepare": {},
    "patch_size": [8, 8, 8],
    "network": NETWORK,
    "head": "softmax",
    "decoding": "hierarchy",
    "window": {},
}
"""The hyper-parameters of a checkpoint, as far as prediction needs them."""


@cache
def _weights() -> dict[str, torch.Tensor]:
    return ModelSpec.read(MODEL).build_network().state_dict()


def checkpoint() -> dict[str, Any]:
    """Return an honest checkpoint, to be changed and saved."""
    weights = {f"network.{name}": value for name, value in _weights().items()}
    return {"hyper_parameters": deepcopy(MODEL), "state_dict": weights}


def save(run: Path, content: Any, saver: Callable[[Any, Path], None] = torch.save) -> Path:
    """Write a checkpoint into a run folder; return the run."""
    path = run / "checkpoints" / "last.ckpt"
    path.parent.mkdir(parents=True, exist_ok=True)
    saver(content, path)
    return run


@cache
def _composed() -> dict[str, Any]:
    from hydra import compose, initialize_config_dir

    with initialize_config_dir(str(CONFIG_DIR), version_base="1.3"):
        overrides = ["+experiment=supervised", "cohort.root=nowhere", "logger=csv"]
        return RunConfig.parse(compose("train", overrides)).content


def config() -> dict[str, Any]:
    """Return the configuration of an honest run."""
    return deepcopy(_composed())


def data_config() -> dict[str, Any]:
    """Return as much of a configuration as evaluation reads."""
    return {
        "name": "honest",
        "seed": 0,
        "labels": deepcopy(TABLE),
        "cohort": {"_target_": "neoseg.cohort.read_bids", "root": "nowhere"},
        "store": {},
        "split": {},
        "annotation": {"draw": 0, "full_fraction": 0.5},
    }


def write_config(run: Path, content: dict[str, Any] | None = None, more: str = "") -> Path:
    """Write `config.yaml` with some more text behind it; return the run."""
    run.mkdir(parents=True, exist_ok=True)
    text = yaml.safe_dump(data_config() if content is None else content, sort_keys=False)
    (run / "config.yaml").write_text(text + more)
    return run
