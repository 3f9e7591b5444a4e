"""Handle NaN or infinite losses: stop the training or skip the step, and save the batch.

A step with such a gradient would destroy the weights, so the loss is checked before it. The check
waits until the backward pass is queued, so that an accelerator computes while the host waits.
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
"""Subfolder of the training's folder in which batches with a non-finite loss are saved."""

MAX_BYTES = 2**34
"""Largest size of a saved batch that is read."""

WEIGHTS = "weights.ckpt"
"""Checkpoint of the network whose loss was not finite, beside the batches."""


class NonFiniteLossError(NeosegError):
    """The loss is no longer finite; the message names the step and the saved files."""


class NonFiniteSettings(Section):
    """Settings `on_nan` and `max_skipped`."""

    on_nan: Literal["stop", "skip"] = "stop"
    max_skipped: int = Field(default=10, ge=0, description="steps of a training; one more stops it")


@dataclass
class KeptBatch:
    """A batch whose loss was not finite, with its origin.

    Attributes:
        batch: items of this rank.
        about: seed, step, items, scans, loss.
    """

    batch: Batch
    about: dict[str, Any] = field(default_factory=dict)


class NonFiniteLoss(Callback):
    """Check the loss of every step before the weights change; all ranks take the same decision.

    With "skip", the weights, the optimizer's state, the batch statistics and the teacher stay
    unchanged, while schedules and the patch stream advance; a resumed run skips the same steps.
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
        self._pending: tuple[Tensor, Answer] | None = None
        self._batch_is_bad = self._step_is_bad = False

    def state_dict(self) -> dict[str, Any]:
        """Return the number of skipped steps; the limit applies to the whole training."""
        return {"skipped": self.skipped}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the number of skipped steps."""
        self.skipped = int(state_dict["skipped"])

    def on_train_batch_start(
        self, trainer: L.Trainer, module: L.LightningModule, batch: Any, *_: Any
    ) -> None:
        """Remember the batch and, if steps may be skipped, the buffers a forward pass changes."""
        self._batch, self._batch_is_bad = batch, False
        if self.settings.on_nan == "skip":
            self._before = {name: value.clone() for name, value in module.named_buffers()}

    def on_before_backward(
        self, trainer: L.Trainer, module: L.LightningModule, loss: Tensor
    ) -> None:
        """Start checking whether the loss is non-finite on this rank, or on any."""
        bad = (~torch.isfinite(loss.detach()).all()).float()
        flags = torch.stack([bad, largest_of_all_ranks(bad)])
        self._pending = loss.detach(), Answer(flags)

    def on_after_backward(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        """Stop, or mark the step to be skipped, if the loss is non-finite on any rank.

        Raises:
            NonFiniteLossError: with "stop", or after too many skipped steps.
        """
        assert self._pending is not None
        loss, answer = self._pending
        bad, anywhere = answer.get().tolist()
        self._pending = None
        if not anywhere:
            return
        stopping = self.settings.on_nan == "stop" or self.skipped >= self.settings.max_skipped
        message = self._keep(trainer, module, float(loss), bool(bad), stopping)
        if stopping:
            raise NonFiniteLossError(message)
        log.warning("%s", message)
        if not self._step_is_bad:
            self.skipped += 1
        self._batch_is_bad = self._step_is_bad = True

    def on_before_optimizer_step(
        self, trainer: L.Trainer, module: L.LightningModule, optimizer: Optimizer
    ) -> None:
        """Drop the gradients of a marked step, so that the optimizer changes nothing."""
        teacher = getattr(module, "teacher", None)
        if teacher is not None:
            teacher.paused = self._step_is_bad
        if self._step_is_bad and getattr(trainer.precision_plugin, "scaler", None) is None:
            # A gradient scaler skips the step by itself, but requires gradients to be present.
            optimizer.zero_grad(set_to_none=True)
        self._step_is_bad = False

    def on_train_batch_end(self, trainer: L.Trainer, module: L.LightningModule, *_: Any) -> None:
        """Restore the buffers that the forward pass of a marked batch changed."""
        if self._batch_is_bad:
            buffers = dict(module.named_buffers())
            for name, value in self._before.items():
                buffers[name].copy_(value)
        self._batch = None

    def _keep(
        self,
        trainer: L.Trainer,
        module: L.LightningModule,
        loss: float,
        on_this_rank: bool,
        stopping: bool,
    ) -> str:
        """Save everything needed to recompute the loss; return the message for the user."""
        step = self.first_step + trainer.fit_loop.epoch_loop.batch_progress.total.ready - 1
        if not on_this_rank:
            return f"the loss of step {step} is not a number in another process, which says more"
        assert self._batch is not None  # a step begins with its batch
        batch = self._batch.with_intensities()
        per_rank = len(batch)
        items = [trainer.global_rank * per_rank + offset for offset in range(per_rank)]
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
        hint = (
            f"; {self.skipped} steps were left out before (max_skipped)"
            if self.settings.on_nan == "skip"
            else "; on_nan=skip leaves such steps out"
        )
        action = (
            "the training stops, and the last checkpoint is from before"
            if stopping
            else f"the step is left out, number {self.skipped + 1} of {self.settings.max_skipped}"
        )
        return (
            f"the loss is {loss} in step {step} (items {items}): {action}. {suspects}. The patches "
            f"are in {path}; {command('replay', override('patch', path))} shows again what each "
            "gives. Try a lower optimizer.lr, trainer.gradient_clip_val=1.0 or "
            "trainer.precision=32-true" + (hint if stopping else "")
        )


def write_batch(path: Path, kept: KeptBatch) -> None:
    """Write a batch as arrays and JSON text, atomically."""
    members = {item.name: getattr(kept.batch, item.name) for item in fields(kept.batch)}
    arrays: dict[str, Any] = {
        name: value.cpu().numpy() for name, value in members.items() if isinstance(value, Tensor)
    }
    with replacing(path) as temporary:
        np.savez_compressed(temporary, about=np.array(json.dumps(kept.about)), **arrays)


def read_batch(path: Path) -> KeptBatch:
    """Read a file of `write_batch`, without unpickling.

    Raises:
        ValueError: naming the file, if it is damaged or something else.
    """
    try:
        content = read_arrays(path, MAX_BYTES)
        about = json_of(str(content.pop("about")), str(path))
        tensors: dict[str, Any] = {n: torch.from_numpy(v.copy()) for n, v in content.items()}
        return KeptBatch(Batch(**tensors), about)
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path} is not a patch that a training has kept: {error}") from None


def _suspects(batch: Batch, scans: list[str]) -> str:
    """Name the scans whose patches have non-finite voxels, or all scans if none has."""
    finite = torch.isfinite(batch.image).flatten(1).all(1).tolist()
    bad = sorted({scan for scan, good in zip(scans, finite, strict=True) if not good})
    if bad:
        return f"The patch of {', '.join(bad)} holds voxels that are not numbers"
    return f"All patches are sound; they are of {', '.join(sorted(set(scans)))}"
