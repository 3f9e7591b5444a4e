"""The LightningModule: a segmentation network, its head, the objective and, if asked, a teacher."""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping
from typing import Any

import lightning as L
import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import ReduceLROnPlateau

from neoseg.data import Batch, VolumeSample
from neoseg.inference import WindowSettings, predict_volume
from neoseg.labels import Codebook, LabelSpace, LabelTable
from neoseg.losses import Objective, Prediction
from neoseg.networks import build_network, make_head
from neoseg.training.agreement import class_dice
from neoseg.training.optimisation import OptimizerSettings, make_optimizer, make_schedule
from neoseg.training.teacher import Teacher, TeacherSettings

MONITOR = "val/dice"
"""Mean validation Dice over leaves (without background) and scans, of the network that predicts."""


class SegmentationModule(L.LightningModule):
    """Trains any network with any weighted sum of loss terms; knows no variant of either.

    All arguments are plain containers, so that a checkpoint carries them and loads with
    `weights_only=True`.

    Args:
        labels: the label table (`conf/labels`).
        label_sets: leaf positions of each row of the codebook.
        modalities: names of the input channels.
        prepare: how scans were prepared, for prediction.
        patch_size: voxels along X, Y, Z.
        network: a `conf/network` entry.
        head: "multilabel" or "softmax".
        decoding: how a multi-label head decides, "hierarchy" or "paper".
        loss: `conf/loss` entries by name.
        optimizer: a `conf/optimizer` entry.
        teacher: decay of the moving average, and whether to keep one without need.
        window: sliding-window settings of validation and prediction, `patch_size` left out.
        predict_with: "student", "teacher", or "auto": the teacher where there is one.
        compile: compile the network with torch.compile.
    """

    def __init__(
        self,
        labels: dict[str, Any],
        label_sets: list[list[int]],
        modalities: list[str],
        prepare: dict[str, Any],
        patch_size: list[int],
        network: dict[str, Any],
        head: str,
        decoding: str,
        loss: dict[str, Any],
        optimizer: dict[str, Any],
        teacher: dict[str, Any],
        window: dict[str, Any],
        predict_with: str = "auto",
        compile: bool = False,
    ) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.space = LabelSpace.from_table(LabelTable.parse(labels))
        self.codebook = Codebook(self.space, tuple(frozenset(row) for row in label_sets))
        self.head = make_head(head, self.space, decoding)
        self.network = build_network(network, len(modalities), self.head.channels, patch_size)
        self.objective = Objective(loss, self.codebook, head)
        self.optimizer_settings = OptimizerSettings(**optimizer)
        settings = TeacherSettings(**teacher)
        self.teacher: Teacher | None = None
        if settings.always or self.objective.needs_teacher:
            self.teacher = Teacher(self.network, settings.decay)
        self.window = WindowSettings(patch_size=tuple(patch_size), **window)
        if predict_with not in ("auto", "student", "teacher"):
            raise ValueError(f"predict_with is '{predict_with}'; use auto, student or teacher")
        if predict_with == "teacher" and self.teacher is None:
            raise ValueError(
                "predict_with is 'teacher', but this run has none; add loss=[..., mean_teacher] "
                "or set teacher.always=true"
            )
        if compile:
            self.network.compile()
        self._dice: dict[str, list[Tensor]] = {}

    @property
    def predictor(self) -> nn.Module:
        """The network that predicts: the teacher's average, or the student."""
        choice = self.hparams["predict_with"]
        if self.teacher is not None and choice != "student":
            return self.teacher
        return self.network

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Return the objective of one composed batch."""
        outputs = self.network(batch.image)
        heads = outputs if isinstance(outputs, list) else [outputs]
        teacher = None
        if self.teacher is not None and batch.teacher_image is not None:
            teacher = self.teacher(batch.teacher_image)
        loss, parts = self._objective(heads[0], teacher, batch)
        # Deep supervision: each coarser head counts half of the one before, all together one.
        weights = [0.5**level for level in range(len(heads))]
        total = loss * weights[0]
        for logits, weight in zip(heads[1:], weights[1:], strict=True):
            total = total + self._objective(logits, teacher, batch)[0] * weight
        total = total / sum(weights)
        # `StepCurves` writes these to the loggers, before a checkpoint of the same step.
        self.log("train/loss", total, prog_bar=True, logger=False, batch_size=len(batch))
        for name, value in parts.items():
            self.log(f"train/{name}", value, logger=False, batch_size=len(batch))
        return total

    def _objective(
        self, logits: Tensor, teacher: Tensor | None, batch: Batch
    ) -> tuple[Tensor, Mapping[str, Tensor]]:
        prediction = Prediction(logits, self.head.name, teacher, batch.stream)
        return self.objective(prediction, batch.codes, self.global_step)

    def optimizer_step(self, *args: Any, **kwargs: Any) -> None:
        """Step, then let the teacher follow."""
        super().optimizer_step(*args, **kwargs)
        if self.teacher is not None:
            self.teacher.update(self.network)

    def validation_step(self, sample: VolumeSample, batch_idx: int) -> None:
        """Segment a whole scan with the student and, where there is one, the teacher."""
        networks: dict[str, nn.Module] = {"student": self.network}
        if self.teacher is not None:
            networks["teacher"] = self.teacher
        for name, network in networks.items():
            leaves = predict_volume(network, sample.image, self.head, self.window, self.device)
            codes = sample.codes.to("cpu")
            dice = class_dice(torch.from_numpy(leaves), codes, self.codebook)
            self._dice.setdefault(name, []).append(dice)

    def on_validation_epoch_end(self) -> None:
        """Log the mean Dice per class and over leaves."""
        chosen = "student" if self.predictor is self.network else "teacher"
        for name, values in self._dice.items():
            per_class = torch.stack(values).nanmean(dim=0)
            leaves = [k for k in range(self.space.num_leaves) if k != self.space.background]
            mean = per_class[leaves].nanmean()
            self._log_dice(f"val/dice_{name}", mean)
            if name != chosen:
                continue
            self._log_dice(MONITOR, mean, prog_bar=True)
            for entry, value in zip(self.space.classes, per_class, strict=True):
                if not value.isnan():
                    self._log_dice(f"val/dice/{entry.abbreviation}", value)
        self._dice = {}

    def on_train_epoch_end(self) -> None:
        """Step "plateau" here: Lightning would do so after the checkpoint of the epoch, which would
        then miss it.
        """
        scheduler = self.lr_schedulers()
        if isinstance(scheduler, ReduceLROnPlateau) and MONITOR in self.trainer.callback_metrics:
            scheduler.step(self.trainer.callback_metrics[MONITOR])

    def _log_dice(self, name: str, value: Tensor, prog_bar: bool = False) -> None:
        self.log(name, value.float().to(self.device), prog_bar=prog_bar, sync_dist=True)

    def configure_optimizers(self) -> Any:
        """Return the optimizer and its schedule."""
        optimizer = make_optimizer(self.optimizer_settings, self.network.parameters())
        schedule = make_schedule(self.optimizer_settings, optimizer, self._total_steps())
        plateau = self.optimizer_settings.schedule == "plateau"
        entry: dict[str, Any] = {"scheduler": schedule, "interval": "epoch" if plateau else "step"}
        if plateau:
            # Never by Lightning, see `on_train_epoch_end`.
            entry |= {"monitor": MONITOR, "frequency": sys.maxsize}
        return {"optimizer": optimizer, "lr_scheduler": entry}

    def _total_steps(self) -> int:
        """Optimizer steps of the whole training.

        Lightning's own estimate starts the loader, which in a resumed run would fetch its first
        batches before the progress is restored: those of step 0.
        """
        trainer = self.trainer
        batches: int = trainer.datamodule.patches.steps_per_epoch  # type: ignore[attr-defined]
        epochs = trainer.max_epochs or 0
        epochs = epochs if epochs > 0 else sys.maxsize  # endless: a schedule never gets anywhere
        return math.ceil(batches / trainer.accumulate_grad_batches) * epochs


def plain_label_sets(codebook: Codebook) -> list[list[int]]:
    """Return the rows of a codebook as plain lists, for a checkpoint."""
    return [sorted(leaves) for leaves in codebook.sets]
