"""Seeing again the step whose loss was not a number."""

from __future__ import annotations

import logging
import math
import warnings
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig
from rich.console import Console
from rich.markup import escape
from rich.table import Table
from torch import Tensor

from neoseg.configuration.command_config import CommandConfig
from neoseg.findings.settings import ConfigError
from neoseg.inference.checkpoint import CHECKPOINTS, LAST
from neoseg.patches.batch import Batch
from neoseg.training.checkpoint import seed_step
from neoseg.training.module import SegmentationModule, restored
from neoseg.training.nonfinite import WEIGHTS, KeptBatch, read_batch

log = logging.getLogger(__name__)


class ReplayConfig(CommandConfig):
    """What `conf/replay.yaml` holds."""

    allow: tuple[str, ...] = ()
    patch: Path
    checkpoint: Path | None = None


def main(config: DictConfig) -> None:
    """Show the range, the codes and the loss of every patch of a kept batch, and of them all."""
    command = ReplayConfig.parse(config)
    try:
        kept = read_batch(command.patch)
    except ValueError as error:
        raise ConfigError(str(error)) from None
    module = restored(command.checkpoint or _checkpoint(command.patch), command.allow)
    lost = sum(int((~torch.isfinite(value)).sum()) for value in module.state_dict().values())
    if lost:
        log.warning("%d weights are not numbers already: the step before did it", lost)
    table = Table(title=f"step {kept.about['step']}, seed {kept.about['seed']}")
    for title in ("item", "scan", "image", "codes", "loss"):
        table.add_column(title, justify="right" if title == "loss" else "left")
    for place, (item, scan) in enumerate(
        zip(kept.about["items"], kept.about["scans"], strict=True)
    ):
        batch = _part(kept.batch, place)
        low, high = float(batch.image.min()), float(batch.image.max())
        shown = f"{low:.4g} to {high:.4g}" if math.isfinite(low + high) else "holds no numbers"
        codes = ", ".join(map(str, batch.codes.unique().tolist()))
        loss = f"{loss_of(module, batch, kept):.6g}"
        table.add_row(str(item), escape(str(scan)), shown, codes, loss)
    total = loss_of(module, kept.batch, kept)
    table.add_row("all", "", "", "", f"{total:.6g}", style="bold")
    Console().print(table)
    log.info("the loss was %s then; files: %s", kept.about["loss"], kept.about["files"])


def loss_of(module: SegmentationModule, batch: Batch, kept: KeptBatch) -> float:
    """Return the objective of a batch as in training, dropout included; weights stay as they are.

    `module` is in training mode; `batch` has all of the kept items or some.
    """
    seed_step(kept.about["seed"], kept.about["step"], kept.about["rank"])
    buffers = {name: value.clone() for name, value in module.named_buffers()}
    with torch.no_grad(), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*self.trainer.*")
        loss = float(module.training_step(batch, 0))
    for name, value in module.named_buffers():
        value.copy_(buffers[name])
    return loss


def _part(batch: Batch, place: int) -> Batch:
    values = {item.name: getattr(batch, item.name) for item in fields(batch)}
    one: dict[str, Any] = {
        n: v[place : place + 1] for n, v in values.items() if isinstance(v, Tensor)
    }
    return replace(batch, **one)


def _checkpoint(patch: Path) -> Path:
    """Return the network that computed the loss, or the last one that is there."""
    beside, last = patch.parent / WEIGHTS, patch.parent.parent / CHECKPOINTS / LAST
    found = next((path for path in (beside, last) if path.is_file()), None)
    if found is None:
        raise ConfigError(f"neither {beside} nor {last} is there; name one with checkpoint=FILE")
    return found
