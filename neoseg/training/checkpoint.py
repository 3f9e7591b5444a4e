"""`checkpoints/last.ckpt`: the checkpoint from which a run resumes exactly."""

from contextlib import nullcontext
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import Callback, Checkpoint, EarlyStopping
from lightning.pytorch.callbacks.early_stopping import EarlyStoppingReason
from lightning.pytorch.utilities.exceptions import SIGTERMException
from pydantic import Field

from neoseg.files import replacing
from neoseg.findings.settings import Section
from neoseg.patches.dataset import seed_of
from neoseg.training.own_callbacks import require_plain_state
from neoseg.training.stopping import StopSignals, Wish


class CheckpointSettings(Section):
    """Settings under `checkpoint`."""

    every_steps: int | None = Field(
        default=None, ge=1, description="optimizer steps between two; null: at each epoch's end"
    )
    best: bool = Field(
        default=False, description="predict with the weights of the best validation Dice"
    )


def save_whole(trainer: L.Trainer, path: Path, weights_only: bool = False) -> None:
    """Replace a checkpoint atomically; every rank must call it.

    Args:
        trainer: whose first process alone writes.
        path: of the checkpoint.
        weights_only: leave out what only a resumed training needs.
    """
    draft = f".{path.name}.tmp"
    first = trainer.is_global_zero
    writing = replacing(path, draft) if first else nullcontext(path.with_name(draft))
    with writing as temporary:
        trainer.save_checkpoint(temporary, weights_only=weights_only)
    trainer.strategy.barrier()


class LastCheckpoint(Checkpoint):
    """Replace one file atomically: after each epoch, every `every_steps` steps, and before an end.

    A checkpoint within an epoch is written only between complete steps: not between accumulated
    gradients, and not after the last batch, whose validation a resumed run would skip.
    """

    def __init__(self, path: Path, every_steps: int | None) -> None:
        self.path = path
        self.every_steps = every_steps
        self._seen = self._saved = -1
        self._at_rest = True
        self._signals = StopSignals()

    def on_train_start(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        """Take over the signals; end at once if the resumed run had been stopped early."""
        self._seen = self._saved = trainer.global_step
        self._signals.listen(trainer)
        for callback in trainer.callbacks:  # type: ignore[attr-defined]
            if isinstance(callback, EarlyStopping):
                stopped = callback.stopping_reason != EarlyStoppingReason.NOT_STOPPED
                trainer.should_stop = trainer.should_stop or stopped

    def on_train_batch_start(self, *_: Any) -> None:
        """Forbid saving while a batch is being processed."""
        self._at_rest = False

    def on_train_batch_end(self, trainer: L.Trainer, module: L.LightningModule, *_: Any) -> None:
        """Save every `every_steps` steps, and handle signals."""
        step = trainer.global_step
        self._at_rest = step != self._seen and not trainer.is_last_batch
        self._seen = step
        if self.every_steps and step % self.every_steps == 0 and self._at_rest:
            self._save(trainer)
        if self._at_rest:
            self._handle_signals(trainer)

    def on_train_epoch_end(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        """Save after validation, plateau schedules and early stopping of the epoch."""
        self._save(trainer)
        self._handle_signals(trainer)

    def on_validation_batch_end(self, trainer: L.Trainer, *_: Any) -> None:
        """End within a validation if a signal demands it; the epoch will be repeated."""
        # Signals received during the sanity check are handled after the first step.
        if not trainer.sanity_checking and self._signals.agreed(trainer) is Wish.SAVE_AND_END:
            self._signals.end()

    def on_exception(
        self, trainer: L.Trainer, module: L.LightningModule, exception: BaseException
    ) -> None:
        """Save the progress so far when the process is terminated."""
        if isinstance(exception, SIGTERMException) and self._at_rest:
            self._save(trainer)

    def end_if_asked(self, trainer: L.Trainer) -> None:
        """End after a training if a signal came after its last step; the checkpoint is whole.

        Otherwise the next stage of the run, or its scoring, would begin nevertheless.
        """
        sigterm = trainer.world_size == 1 and trainer.received_sigterm  # which Lightning handles
        if self._signals.agreed(trainer) is Wish.SAVE_AND_END or sigterm:
            self._signals.end()

    def _handle_signals(self, trainer: L.Trainer) -> None:
        wish = self._signals.agreed(trainer)
        if wish is not Wish.NOTHING:
            self._save(trainer)
        if wish is Wish.SAVE_AND_END:
            self._signals.end()

    def _save(self, trainer: L.Trainer) -> None:
        if trainer.global_step == self._saved or trainer.sanity_checking:
            return
        require_plain_state(trainer.callbacks)  # type: ignore[attr-defined]
        self._saved = trainer.global_step
        save_whole(trainer, self.path)


class StepSeed(Callback):
    """Make dropout and similar layers a function of (seed, batch, rank), as sampling is."""

    def __init__(self, seed: int, first_step: int) -> None:
        self.seed = seed
        self.first_step = first_step

    def on_train_batch_start(self, trainer: L.Trainer, *_: Any) -> None:
        """Seed the generators of all devices for this batch."""
        seed_step(self.seed, batch_number(trainer, self.first_step), trainer.global_rank)


def batch_number(trainer: L.Trainer, first_step: int) -> int:
    """Return the number in the patch stream of the batch that is trained on."""
    return first_step + trainer.fit_loop.epoch_loop.batch_progress.total.ready - 1


def seed_step(seed: int, step: int, rank: int) -> None:
    """Seed the generators of all devices for a batch of a training."""
    torch.manual_seed(seed_of(seed, step, rank))
