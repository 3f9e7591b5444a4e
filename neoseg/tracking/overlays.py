"""Send pictures of the first validation scans to W&B during training."""

from typing import Any

import lightning as L
from lightning.pytorch.callbacks import Callback
from torch import Tensor

from neoseg.inference.planes import middle_planes
from neoseg.patches.datamodule import MixedDataModule
from neoseg.patches.volumes import VolumeSample
from neoseg.tracking.wandb_run import WandbRun


class Overlays(Callback):
    """Show prediction and annotation of the same validation scans at regular intervals.

    The truth in the pictures is what the validation uses: the codes given by the scan's annotation.
    No random numbers are drawn here.
    """

    def __init__(self, run: WandbRun) -> None:
        self.run = run

    def on_validation_batch_end(
        self,
        trainer: L.Trainer,
        module: L.LightningModule,
        outputs: Any,
        batch: VolumeSample,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Send the middle planes of a scan, if it is one of those to be shown."""
        if batch_idx >= self.run.settings.overlays or not self._due(trainer):
            return
        data = trainer.datamodule  # type: ignore[attr-defined]
        assert isinstance(data, MixedDataModule)
        assert isinstance(outputs, Tensor)  # leaves, as `validation_step` returns them
        codebook, entry = data.annotated.codebook, data.val[batch.number].entry
        planes = middle_planes(
            batch.image[0].cpu().numpy(),
            outputs.cpu().numpy(),
            batch.codes.cpu().numpy(),
            codebook,
            entry.geometry.spacing,
            data.store.settings.shown,
        )
        self.run.log_overlay(
            batch_idx + 1, entry.scan.id, planes, codebook, max(trainer.global_step - 1, 0)
        )

    def _due(self, trainer: L.Trainer) -> bool:
        if trainer.sanity_checking or self.run.broken or not trainer.is_global_zero:
            return False
        epochs = trainer.current_epoch + 1
        return epochs % self.run.settings.overlay_every == 0 or epochs == trainer.max_epochs
