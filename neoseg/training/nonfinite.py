"""A loss that is NaN or infinite: the training stops, or leaves the step out, and keeps the patch.

A step with such a gradient would lose the weights; so the loss is looked at before. Not sooner than
the gradients are queued on an accelerator, which computes them while the program waits to be told.
"""

from __future__ import annotations

import json
import logging
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Literal

import lightning as L
import numpy as np
import torch
from lightning.pytorch.callbacks import Callback
from pydantic import Field
from torch import Tensor
from torch.optim import Optimizer

from neoseg.accelerator import Answer
from neoseg.errors import NeosegError
from neoseg.files import replacing
from neoseg.findings.command_line import command, override
from neoseg.findings.settings import Section
from neoseg.foreign import json_of
from neoseg.foreign.packed import read_arrays
from neoseg.losses.fused.parallel import largest_of_all_ranks
from neoseg.patches.batch import Batch

log = logging.getLogger(__name__)

KEPT = "nan"
"""Folder of what is kept, in that of the training."""

LARGEST = 2**34
"""Bytes of a batch."""

WEIGHTS = "weights.ckpt"
"""The network whose loss was not a number, beside the patches."""


class NonFiniteLossError(NeosegError):
    """A training whose loss is not a number any more; the message says where, and what was kept."""


class NonFiniteSettings(Section):
    """What a user writes as `on_nan` and `max_skipped`."""

    on_nan: Literal["stop", "skip"] = "stop"
    max_skipped: int = Field(default=10, ge=0, description="steps of a training; one more stops it")


@dataclass
class KeptBatch:
    """A batch whose loss was not a number, with where it came from.

    Attributes:
        batch: this rank's items.
        about: seed, step, items, scans, loss.
    """

    batch: Batch
    about: dict[str, Any] = field(default_factory=dict)


class NonFiniteLoss(Callback):
    """Watches the loss of every step, before its weights change; all ranks decide alike.

    With "skip" the weights, their optimizer's state, the batch statistics and the teacher stay as
    they were, while schedules and the stream of patches go on; so a resumed run skips the same.
    """

    def __init__(
        self, folder: Path, settings: NonFiniteSettings, seed: int, first_step: int
    ) -> None:
        self.folder = folder
        self.settings = settings
        self.seed = seed
        self.first_step = first_step
        self.skipped = 0
        self._batch: Batch | None = None
        self._before: dict[str, Tensor] = {}
        self._asked: tuple[Tensor, Answer] | None = None
        self._batch_is_bad = self._step_is_bad = False

    def state_dict(self) -> dict[str, Any]:
        """How many steps were left out: the limit is for the whole training."""
        return {"skipped": self.skipped}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on counting."""
        self.skipped = int(state_dict["skipped"])

    def on_train_batch_start(
        self, trainer: L.Trainer, module: L.LightningModule, batch: Any, *_: Any
    ) -> None:
        """Remember the batch and, where steps may be skipped, what a forward pass changes."""
        self._batch, self._batch_is_bad = batch, False
        if self.settings.on_nan == "skip":
            self._before = {name: value.clone() for name, value in module.named_buffers()}

    def on_before_backward(
        self, trainer: L.Trainer, module: L.LightningModule, loss: Tensor
    ) -> None:
        """Ask whether the loss of this rank, or of any, is not a number."""
        bad = (~torch.isfinite(loss.detach()).all()).float()
        flags = torch.stack([bad, largest_of_all_ranks(bad)])
        self._asked = loss.detach(), Answer(flags)

    def on_after_backward(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        """Stop, or mark the step, where it is so.

        Raises:
            NonFiniteLossError: with `stop`, or when too many steps were skipped.
        """
        assert self._asked is not None
        loss, answer = self._asked
        bad, anywhere = answer.get().tolist()
        self._asked = None
        if not anywhere:
            return
        stopping = self.settings.on_nan == "stop" or self.skipped >= self.settings.max_skipped
        told = self._keep(trainer, module, float(loss), bool(bad), stopping)
        if stopping:
            raise NonFiniteLossError(told)
        log.warning("%s", told)
        if not self._step_is_bad:
            self.skipped += 1
        self._batch_is_bad = self._step_is_bad = True

    def on_before_optimizer_step(
        self, trainer: L.Trainer, module: L.LightningModule, optimizer: Optimizer
    ) -> None:
        """Take the gradients of a marked step away; the optimizer then leaves everything alone."""
        teacher = getattr(module, "teacher", None)
        if teacher is not None:
            teacher.paused = self._step_is_bad
        if self._step_is_bad and getattr(trainer.precision_plugin, "scaler", None) is None:
            # A gradient scaler skips the step by itself, and insists on seeing gradients.
            optimizer.zero_grad(set_to_none=True)
        self._step_is_bad = False

    def on_train_batch_end(self, trainer: L.Trainer, module: L.LightningModule, *_: Any) -> None:
        """Bring back what the forward pass of a marked batch changed."""
        if self._batch_is_bad:
            now = dict(module.named_buffers())
            for name, value in self._before.items():
                now[name].copy_(value)
        self._batch = None

    def _keep(
        self,
        trainer: L.Trainer,
        module: L.LightningModule,
        loss: float,
        mine: bool,
        stopping: bool,
    ) -> str:
        """Save what is needed to compute the loss again, and say so."""
        step = self.first_step + trainer.fit_loop.epoch_loop.batch_progress.total.ready - 1
        if not mine:
            return f"the loss of step {step} is not a number in another process, which says more"
        assert self._batch is not None  # a step begins with its batch
        batch = self._batch.with_intensities()
        share = len(batch)
        items = [trainer.global_rank * share + place for place in range(share)]
        train = trainer.datamodule.train  # type: ignore[attr-defined]
        scans = [train[number].entry.scan for number in batch.scan.tolist()]
        ids = [scan.id for scan in scans]
        about: dict[str, Any] = {
            "seed": self.seed,
            "step": step,
            "rank": trainer.global_rank,
            "items": items,
            "scans": ids,
            "files": [[str(path) for path in scan.images if path] for scan in scans],
            "loss": repr(loss),
        }
        suspects = _suspects(batch, ids)
        path = self.folder / f"step-{step:08d}-rank-{trainer.global_rank}.npz"
        write_batch(path, KeptBatch(batch, about))
        if stopping:
            content = {
                "hyper_parameters": dict(module.hparams),
                "state_dict": module.state_dict(),
            }
            with replacing(self.folder / WEIGHTS) as temporary:
                torch.save(content, temporary)
        ending = (
            f"; {self.skipped} steps were left out before (max_skipped)"
            if self.settings.on_nan == "skip"
            else "; on_nan=skip leaves such steps out"
        )
        what = (
            "the training stops, and the last checkpoint is from before"
            if stopping
            else f"the step is left out, number {self.skipped + 1} of {self.settings.max_skipped}"
        )
        return (
            f"the loss is {loss} in step {step} (items {items}): {what}. {suspects}. The patches "
            f"are in {path}; {command('replay', override('patch', path))} shows again what each "
            "gives. Try a lower optimizer.lr, trainer.gradient_clip_val=1.0 or "
            "trainer.precision=32-true" + (ending if stopping else "")
        )


def write_batch(path: Path, kept: KeptBatch) -> None:
    """Write a batch as arrays and JSON text, whole or not at all."""
    values = {item.name: getattr(kept.batch, item.name) for item in fields(kept.batch)}
    arrays: dict[str, Any] = {
        name: value.cpu().numpy() for name, value in values.items() if isinstance(value, Tensor)
    }
    with replacing(path) as temporary:
        np.savez_compressed(temporary, about=np.array(json.dumps(kept.about)), **arrays)


def read_batch(path: Path) -> KeptBatch:
    """Read what `write_batch` wrote, as data only.

    Raises:
        ValueError: naming the file, if it is damaged or something else.
    """
    try:
        content = read_arrays(path, LARGEST)
        about = json_of(str(content.pop("about")), str(path))
        tensors: dict[str, Any] = {n: torch.from_numpy(v.copy()) for n, v in content.items()}
        return KeptBatch(Batch(**tensors), about)
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path} is not a patch that a training has kept: {error}") from None


def _suspects(batch: Batch, scans: list[str]) -> str:
    """Say which items have voxels that are not numbers; of the others nothing is known."""
    finite = torch.isfinite(batch.image).flatten(1).all(1).tolist()
    bad = sorted({scan for scan, good in zip(scans, finite, strict=True) if not good})
    if bad:
        return f"The patch of {', '.join(bad)} holds voxels that are not numbers"
    return f"All patches are sound; they are of {', '.join(sorted(set(scans)))}"
