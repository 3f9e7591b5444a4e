"""Opening a finished run: its configuration and its network, as data only."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig, OmegaConf

from neoseg.assembly import ConfigError
from neoseg.data import PrepareSettings
from neoseg.inference import Segmenter, WindowSettings
from neoseg.training import SegmentationModule
from neoseg.training.callbacks import CHECKPOINTS, LAST


def load_config(run: Path) -> DictConfig:
    """Return `config.yaml` of a run folder; raises `ConfigError` where there is none."""
    path = run / "config.yaml"
    if not path.is_file():
        raise ConfigError(f"{run} is not a run folder: it has no config.yaml")
    config = OmegaConf.load(path)
    assert isinstance(config, DictConfig)
    return config


def load_module(run: Path, device: str = "auto") -> SegmentationModule:
    """Load the last checkpoint of a run for prediction.

    Nothing in the file is executed: it is read with `weights_only=True`.

    Raises:
        ConfigError: no checkpoint, a damaged one, or one that holds more than data.
    """
    path = run / CHECKPOINTS / LAST
    if not path.is_file():
        raise ConfigError(f"{run} has no {CHECKPOINTS}/{LAST}; name the folder of a trained run")
    try:
        module = SegmentationModule.load_from_checkpoint(
            path, map_location="cpu", weights_only=True
        )
    except pickle.UnpicklingError as error:
        raise ConfigError(
            f"{path} holds more than tensors and plain data and was not loaded: {error}"
        ) from None
    except (RuntimeError, EOFError, KeyError) as error:
        raise ConfigError(f"{path} cannot be loaded: {error}") from None
    module.eval()
    return module.to(choose_device(device))


def choose_device(name: str) -> torch.device:
    """Return the device "auto" stands for, or the named one."""
    if name != "auto":
        return torch.device(name)
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def segmenter_of(module: SegmentationModule, **window: Any) -> Segmenter:
    """Return what segments scans as the module's run does, with changed window settings."""
    changed = {key: value for key, value in window.items() if value is not None}
    settings = WindowSettings(**{**module.window.model_dump(), **changed})
    prepare = PrepareSettings(**module.hparams["prepare"])
    return Segmenter(module.predictor, module.head, settings, prepare, module.device)
