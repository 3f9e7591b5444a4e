"""Replay a training step whose loss or gradient was not finite."""

import logging
import math
import warnings
from operator import itemgetter
from pathlib import Path

import torch
from omegaconf import DictConfig
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from neoseg.configuration.command_config import CommandConfig
from neoseg.errors import printable
from neoseg.findings.settings import ConfigError
from neoseg.inference.checkpoint import CHECKPOINTS, LAST
from neoseg.patches.batch import Batch
from neoseg.training.checkpoint import seed_step
from neoseg.training.kept_batch import KeptBatch, read_batch
from neoseg.training.module import SegmentationModule, restored
from neoseg.training.nonfinite import WEIGHTS, largest_gradient

log = logging.getLogger(__name__)


class ReplayConfig(CommandConfig):
    """Schema of `conf/replay.yaml`."""

    allow: tuple[str, ...] = ()
    patch: Path
    checkpoint: Path | None = None


def main(config: DictConfig) -> None:
    """Print intensities, codes, loss and largest gradient of each patch of a saved batch."""
    command = ReplayConfig.parse(config)
    try:
        kept = read_batch(command.patch)
    except ValueError as error:
        raise ConfigError(str(error)) from None
    module = restored(command.checkpoint or _checkpoint(command.patch), command.allow)
    non_finite = sum(int((~torch.isfinite(value)).sum()) for value in module.parameters())
    if non_finite:
        log.warning("%d weights are NaN or infinite already, from an earlier step", non_finite)
    table = Table(title=f"step {kept.about['step']}, seed {kept.about['seed']}")
    for title in ("item", "scan", "image", "codes"):
        table.add_column(title, no_wrap=title == "image")
    for title in ("loss", "largest gradient"):
        table.add_column(title, justify="right")
    for index, (item, scan) in enumerate(
        zip(kept.about["items"], kept.about["scans"], strict=True)
    ):
        batch = kept.batch.map_tensors(itemgetter(slice(index, index + 1)))
        low, high = float(batch.image.min()), float(batch.image.max())
        intensities = (
            f"{low:.4g} to {high:.4g}" if math.isfinite(low + high) else "holds no numbers"
        )
        codes = ", ".join(map(str, batch.codes.unique().tolist()))
        loss, largest = loss_and_gradient(module, batch, kept)
        cells = (str(item), escape(scan), intensities, codes)
        table.add_row(*cells, f"{loss:.6g}", f"{largest:.6g}")
    loss, largest = loss_and_gradient(module, kept.batch, kept)
    table.add_row("all", "", "", "", f"{loss:.6g}", f"{largest:.6g}", style="bold")
    Console().print(table)
    then = printable(f"the loss was {kept.about['loss']} then; files: {kept.about['files']}")
    log.info("%s", then)


def loss_and_gradient(
    module: SegmentationModule, batch: Batch, kept: KeptBatch
) -> tuple[float, float]:
    """Return loss and largest absolute gradient of a batch; the module stays unchanged.

    `module` is in training mode; `batch` has some or all of the kept items. Dropout is that of the
    step, precision is float32.
    """
    seed_step(kept.about["seed"], kept.about["step"], kept.about["rank"])
    buffers = {name: value.clone() for name, value in module.named_buffers()}
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*self.trainer.*")
        loss = module.training_step(batch, 0)
    loss.backward()
    largest = largest_gradient(module)
    module.zero_grad(set_to_none=True)
    for name, value in module.named_buffers():
        value.copy_(buffers[name])
    return float(loss.detach()), largest


def _checkpoint(patch: Path) -> Path:
    """Return the checkpoint that computed the loss or, if there is none, the last checkpoint."""
    saved, last = patch.parent / WEIGHTS, patch.parent.parent / CHECKPOINTS / LAST
    checkpoint = next((path for path in (saved, last) if path.is_file()), None)
    if checkpoint is None:
        raise ConfigError(f"neither {saved} nor {last} is there; name one with checkpoint=FILE")
    return checkpoint
