"""Handle NaN or infinite losses and gradients: stop or skip the step, and save the batch.

Such a step would destroy the weights, so both are checked before it. The check of the loss waits
until the backward pass is queued, so that an accelerator computes while the host waits; that of the
gradient waits for the backward pass.
"""

import logging
import math
from pathlib import Path
from typing import Any, Literal

import lightning as L
import torch
from lightning.pytorch.callbacks import Callback
from torch import Tensor
from torch.optim import Optimizer

from neoseg.accelerator import Answer
from neoseg.errors import NeosegError
from neoseg.files import replacing
from neoseg.findings.command_line import again, command, override
from neoseg.losses.fused.parallel import largest_of_all_ranks
from neoseg.patches.batch import Batch
from neoseg.training.checkpoint import batch_number
from neoseg.training.kept_batch import KeptBatch, write_batch

log = logging.getLogger(__name__)

KEPT = "nan"
"""Subfolder of the training's folder for batches with a non-finite loss or gradient."""

WEIGHTS = "weights.ckpt"
"""Checkpoint of the network as it was before the step, beside the batches."""


class NonFiniteLossError(NeosegError):
    """Loss or gradient is no longer finite; the message names the step and the saved files."""


class NonFiniteLoss(Callback):
    """Check loss and gradient of every step before the weights change; all ranks decide alike.

    With "skip", the weights, the optimizer's state, the batch statistics and the teacher stay
    unchanged, while schedules and the patch stream advance; a resumed run skips the same steps.
    More than `max_skipped` of them in a training stop it.
    """

    def __init__(
        self,
        folder: Path,
        on_nan: Literal["stop", "skip"],
        max_skipped: int,
        seed: int,
        first_step: int,
    ) -> None:
        self.folder = folder
        self.on_nan = on_nan
        self.max_skipped = max_skipped
        self.seed = seed
        self.first_step = first_step
        self.skipped = 0
        self._batch: Batch | None = None
        self._before: dict[str, Tensor] = {}
        self._pending: tuple[Tensor, Answer] | None = None
        self._loss = torch.zeros(())
        self._batch_is_bad = self._step_is_bad = self._in_step = False

    def state_dict(self) -> dict[str, Any]:
        """Return the number of skipped steps; the limit applies to the whole training."""
        return {"skipped": self.skipped}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the number of skipped steps."""
        self.skipped = int(state_dict["skipped"])

    def on_train_batch_start(
        self, trainer: L.Trainer, module: L.LightningModule, batch: Any, *_: Any
    ) -> None:
        """Remember the batch and, if steps may be skipped, the buffers a forward pass changes.

        Of several batches in a step, the buffers are those before the first.
        """
        self._batch, self._batch_is_bad = batch, False
        if self.on_nan == "skip" and not self._in_step:
            self._before = {name: value.clone() for name, value in module.named_buffers()}
        self._in_step = True

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
        self._loss = loss
        if anywhere:
            self._refuse(trainer, module, f"the loss is {float(loss)} in", bool(bad))

    def on_before_optimizer_step(
        self, trainer: L.Trainer, module: L.LightningModule, optimizer: Optimizer
    ) -> None:
        """Check the gradient; drop that of a marked step, so that the optimizer changes nothing.

        A gradient scaler does both by itself, and requires gradients to be present.

        Raises:
            NonFiniteLossError: with "stop", or after too many skipped steps.
        """
        scaled = getattr(trainer.precision_plugin, "scaler", None) is not None
        if not scaled and not self._step_is_bad:
            largest = largest_gradient(module)
            if not math.isfinite(largest):
                # Ranks share their gradients, so each of them gets here.
                several = trainer.accumulate_grad_batches > 1
                which = " of this batch or an earlier one" if several else ""
                self._refuse(trainer, module, f"a gradient{which} is {largest} in", True)
        teacher = getattr(module, "teacher", None)
        if teacher is not None:
            teacher.paused = self._step_is_bad
        if self._step_is_bad and not scaled:
            optimizer.zero_grad(set_to_none=True)
        self._step_is_bad = self._in_step = False

    def on_train_batch_end(self, trainer: L.Trainer, module: L.LightningModule, *_: Any) -> None:
        """Restore the buffers that the forward pass of a marked batch changed."""
        if self._batch_is_bad:
            buffers = dict(module.named_buffers())
            for name, value in self._before.items():
                buffers[name].copy_(value)
        self._batch = None

    def _refuse(
        self, trainer: L.Trainer, module: L.LightningModule, what: str, on_this_rank: bool
    ) -> None:
        """Save the batch and stop, or mark the step to be skipped."""
        stopping = self.on_nan == "stop" or self.skipped >= self.max_skipped
        message = self._keep(trainer, module, what, on_this_rank, stopping)
        if stopping:
            raise NonFiniteLossError(message)
        log.warning("%s", message)
        if not self._step_is_bad:
            self.skipped += 1
        self._batch_is_bad = self._step_is_bad = True

    def _keep(
        self,
        trainer: L.Trainer,
        module: L.LightningModule,
        what: str,
        on_this_rank: bool,
        stopping: bool,
    ) -> str:
        """Save everything needed to repeat the step; return the message for the user."""
        step = batch_number(trainer, self.first_step)
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
            "loss": repr(float(self._loss)),
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
        replay = command("replay", override("patch", path), *again(getattr(module, "allow", ())))
        hint = (
            f"; {self.skipped} steps were left out before (max_skipped)"
            if self.on_nan == "skip"
            else "; on_nan=skip leaves such steps out"
        )
        action = (
            "the training stops; the last checkpoint, if there is one, is from before"
            if stopping
            else f"the step is left out, number {self.skipped + 1} of {self.max_skipped}"
        )
        return (
            f"{what} step {step} (items {items}): {action}. {suspects}. The patches "
            f"are in {path}; {replay} shows loss and gradient of each. Try a lower optimizer.lr, "
            "trainer.gradient_clip_val=1.0 or trainer.precision=32-true"
            + (hint if stopping else "")
        )


def largest_gradient(module: torch.nn.Module) -> float:
    """Return the largest absolute gradient: NaN or infinite if one of them is; 0 without any."""
    gradients = [value.grad for value in module.parameters() if value.grad is not None]
    return float(torch.nn.utils.get_total_norm(gradients, norm_type=math.inf))


def _suspects(batch: Batch, scans: list[str]) -> str:
    """Name the scans whose patches have non-finite voxels, or all scans if none has."""
    finite = torch.isfinite(batch.image).flatten(1).all(1).tolist()
    bad = sorted({scan for scan, good in zip(scans, finite, strict=True) if not good})
    if bad:
        return f"The patch of {', '.join(bad)} holds voxels that are not numbers"
    return f"All patches are sound; they are of {', '.join(sorted(set(scans)))}"
