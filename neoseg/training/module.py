"""The LightningModule: a segmentation network, its head, its objective, and who learns with it."""

from __future__ import annotations

import sys
from itertools import chain
from typing import Any

import lightning as L
import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import ReduceLROnPlateau

from neoseg.cohort import MissingModality
from neoseg.inference import WindowSettings, predict_volume
from neoseg.labels import Codebook, LabelSpace, LabelTable
from neoseg.losses import Objective, Prediction
from neoseg.networks import build_network, make_head
from neoseg.patches import Batch, VolumeSample
from neoseg.patches.completion import complete_batch, complete_volume
from neoseg.training.agreement import class_dice, of_all_ranks
from neoseg.training.optimisation import (
    OptimizerSettings,
    make_optimizer,
    make_schedules,
    total_steps,
)
from neoseg.training.supervision import deep_objective, heads_of
from neoseg.training.teacher import Teacher, TeacherSettings

MONITOR = "val/dice"
"""Mean validation Dice over leaves (without background) and scans, of the network that predicts."""

HOW_TO_GET = {
    "teacher": "add loss=[..., mean_teacher] or set teacher.always=true",
    "peer": "add loss=[..., cross_pseudo]",
}
"""What gives a run a network beside the student."""


class SegmentationModule(L.LightningModule):
    """Trains any network with any weighted sum of loss terms; knows no variant of either.

    A term may ask for a teacher, the moving average of the network (the student), or for a peer, a
    second network of the same kind with other initial weights. The peer learns by the same
    objective, summed with the student's, in which each is the other's peer; a teacher is the
    student's average for both.

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
        teacher: a `conf/teacher` entry.
        window: sliding-window settings of validation and prediction, `patch_size` left out.
        predict_with: "student", "teacher", "peer", or "auto": the teacher where there is one.
        compile: compile the networks with torch.compile.
        missing_modality: what happens to scans that lack a modality; None: they have zeros in its
            place, and nothing tells.
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
        missing_modality: dict[str, Any] | None = None,
    ) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.missing_modality = MissingModality(**missing_modality) if missing_modality else None
        channels = len(modalities)
        if self.missing_modality is not None:
            channels = self.missing_modality.channels(channels)
        self.space = LabelSpace.from_table(LabelTable.parse(labels))
        self.codebook = Codebook(self.space, tuple(frozenset(row) for row in label_sets))
        self.head = make_head(head, self.space, decoding)
        self.network = build_network(network, channels, self.head.channels, patch_size)
        self.objective = Objective(loss, self.codebook, head)
        self.optimizer_settings = OptimizerSettings(**optimizer)
        self.teacher_settings = TeacherSettings(**teacher)
        self.teacher: Teacher | None = None
        if self.teacher_settings.always or self.objective.needs_teacher:
            self.teacher = Teacher(self.network, self.teacher_settings.decay)
        self.peer: nn.Module | None = None
        if self.objective.needs_peer:
            # Drawn after the student, whose initial weights are the same without a peer.
            self.peer = build_network(network, channels, self.head.channels, patch_size)
        self.window = WindowSettings(patch_size=tuple(patch_size), **window)
        self.predict_with = self._chosen(predict_with)
        if compile:
            for member in self.networks.values():
                (member.average.module if isinstance(member, Teacher) else member).compile()
        self._dice: dict[str, dict[int, Tensor]] = {}

    def _chosen(self, choice: str) -> str:
        if choice == "auto":
            return "teacher" if self.teacher is not None else "student"
        if choice in self.networks:
            return choice
        if choice in HOW_TO_GET:
            raise ValueError(
                f"predict_with is '{choice}', but this run has none; {HOW_TO_GET[choice]}"
            )
        raise ValueError(f"predict_with is '{choice}'; use auto, student, teacher or peer")

    @property
    def networks(self) -> dict[str, nn.Module]:
        """All networks that can predict, by name; "student" is always there."""
        found = {"student": self.network, "peer": self.peer, "teacher": self.teacher}
        return {name: network for name, network in found.items() if network is not None}

    @property
    def learners(self) -> dict[str, nn.Module]:
        """The networks that the optimizer trains."""
        return {name: n for name, n in self.networks.items() if n is not self.teacher}

    @property
    def predictor(self) -> nn.Module:
        """The network that predicts, `predict_with`."""
        return self.networks[self.predict_with]

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Return the objective of one composed batch, summed over the networks that learn."""
        batch = complete_batch(batch)  # after all that changes images
        outputs = {name: heads_of(net(batch.image)) for name, net in self.learners.items()}
        teacher, teacher_mean = self._taught(batch)
        losses = []
        for name, heads in outputs.items():
            others = [found[0] for other, found in outputs.items() if other != name]
            prediction = Prediction(
                heads[0],
                self.head.name,
                teacher=teacher,
                stream=batch.stream,
                peer=others[0] if others else None,
                teacher_mean=teacher_mean,
                step=self.global_step,
            )
            loss, parts = deep_objective(self.objective, heads, prediction, batch.codes)
            losses.append(loss)
            prefix = "train" if name == "student" else f"train/{name}"
            for term, value in parts.items():
                self.log(f"{prefix}/{term}", value, logger=False, batch_size=len(batch))
        total = torch.stack(losses).sum()
        # `StepCurves` writes these to the loggers, before a checkpoint of the same step.
        self.log("train/loss", total, prog_bar=True, logger=False, batch_size=len(batch))
        return total

    def _taught(self, batch: Batch) -> tuple[Tensor | None, Tensor | None]:
        """Return the teacher's logits and its mean probabilities, where a term asks for them."""
        if self.teacher is None or not self.objective.needs_teacher or batch.teacher_image is None:
            return None, None
        logits = self.teacher(batch.teacher_image)
        settings = self.teacher_settings
        if not self.objective.needs_passes:
            return logits, None
        if not settings.passes:
            return logits, self._probabilities(logits.float())
        assert batch.noise_seed is not None  # comes with the teacher's view
        return logits, self.teacher.mean_probabilities(
            batch.teacher_image,
            batch.noise_seed,
            settings.passes,
            settings.noise,
            self._probabilities,
        )

    def _probabilities(self, logits: Tensor) -> Tensor:
        """Sigmoids of the classes, or the softmax over the leaves: the channels as they are."""
        return self.head.class_probabilities(logits)[:, : self.head.channels]

    def optimizer_step(self, *args: Any, **kwargs: Any) -> None:
        """Step, then let the teacher follow."""
        super().optimizer_step(*args, **kwargs)
        if self.teacher is not None:
            self.teacher.update(self.network)

    def validation_step(self, sample: VolumeSample, batch_idx: int) -> Tensor:
        """Segment a whole scan with all networks; return the leaves of the one that predicts."""
        found = {}
        image = complete_volume(sample.image, sample.present, self.missing_modality)
        for name, network in self.networks.items():
            leaves = predict_volume(network, image, self.head, self.window, self.device)
            codes = sample.codes.to("cpu")
            found[name] = torch.from_numpy(leaves)
            dice = class_dice(found[name], codes, self.codebook)
            self._dice.setdefault(name, {})[sample.number] = dice
        return found[self.predict_with]

    def on_validation_epoch_end(self) -> None:
        """Log the mean Dice per class and over leaves, of the scans of all ranks."""
        for name, values in self._dice.items():
            per_class = torch.stack(of_all_ranks(values)).nanmean(dim=0)
            leaves = [k for k in range(self.space.num_leaves) if k != self.space.background]
            mean = per_class[leaves].nanmean()
            self._log_dice(f"val/dice_{name}", mean)
            if name != self.predict_with:
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
        found = self.lr_schedulers()
        dice = self.trainer.callback_metrics.get(MONITOR)
        for scheduler in found if isinstance(found, list) else [found]:
            if isinstance(scheduler, ReduceLROnPlateau) and dice is not None:
                scheduler.step(dice)

    def _log_dice(self, name: str, value: Tensor, prog_bar: bool = False) -> None:
        self.log(name, value.float().to(self.device), prog_bar=prog_bar, sync_dist=True)

    def configure_optimizers(self) -> Any:
        """Return the optimizer of all networks that learn, and its schedule."""
        parameters = chain.from_iterable(n.parameters() for n in self.learners.values())
        optimizer = make_optimizer(self.optimizer_settings, parameters)
        entries: list[dict[str, Any]] = []
        for schedule in make_schedules(
            self.optimizer_settings, optimizer, total_steps(self.trainer)
        ):
            entry: dict[str, Any] = {"scheduler": schedule, "interval": "step"}
            if isinstance(schedule, ReduceLROnPlateau):
                # Never by Lightning, see `on_train_epoch_end`.
                entry |= {"interval": "epoch", "monitor": MONITOR, "frequency": sys.maxsize}
            entries.append(entry)
        return [optimizer], entries


def plain_label_sets(codebook: Codebook) -> list[list[int]]:
    """Return the rows of a codebook as plain lists, for a checkpoint."""
    return [sorted(leaves) for leaves in codebook.sets]
