"""The LightningModule: a segmentation network, its head, its objective, and who learns with it."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import lightning as L
import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import ReduceLROnPlateau

from neoseg.findings.settings import ConfigError
from neoseg.inference.checkpoint import CheckpointError, read_checkpoint
from neoseg.inference.model import ModelSpec, chosen
from neoseg.inference.window import predict_volume
from neoseg.losses import Objective, Prediction
from neoseg.networks import weighing
from neoseg.networks.outputs import heads_of
from neoseg.patches.batch import Batch
from neoseg.patches.completion import complete_batch, complete_volume
from neoseg.patches.volumes import VolumeSample
from neoseg.training.agreement import class_dice, of_all_ranks
from neoseg.training.optimisation import (
    OptimizerSettings,
    make_optimizer,
    make_schedules,
    total_steps,
)
from neoseg.training.parts import InitSettings, freeze, groups
from neoseg.training.speed import Compiling, begin_step, compile_network, put_channels_last
from neoseg.training.supervision import deep_objective
from neoseg.training.teacher import Teacher, TeacherSettings

MONITOR = "val/dice"
"""Mean validation Dice over leaves (without background) and scans, of the network that predicts."""


class ModuleSpec(ModelSpec):
    """A network and how it learns.

    Attributes:
        loss: `conf/loss` entries by name.
        optimizer: a `conf/optimizer` entry.
        teacher: a `conf/teacher` entry.
        compile: compile the networks with torch.compile, in a mode of it where one is named.
        channels_last: keep the weights of convolutions with the channels last in memory, which
            convolutions then compute in.
        init: which parts stay as they are, and which learn slower.
    """

    loss: dict[str, dict[str, Any] | None]
    optimizer: OptimizerSettings
    teacher: TeacherSettings
    compile: Compiling = False
    channels_last: bool = False
    init: InitSettings = InitSettings()


class SegmentationModule(L.LightningModule):
    """Trains any network with any weighted sum of loss terms; knows no variant of either.

    A term may ask for a teacher, the moving average of the network (the student), or for a peer, a
    second network of the same kind with other initial weights. The peer learns by the same
    objective, summed with the student's, in which each is the other's peer; a teacher is the
    student's average for both.

    Args:
        spec: what is trained, and how; checkpoints carry it as plain containers.
        allow: packages beside the known ones whose networks, losses and optimizers may be built.
    """

    def __init__(self, spec: ModuleSpec, allow: Sequence[str] = ()) -> None:
        super().__init__()
        self.spec = spec
        self.allow = tuple(allow)
        self.save_hyperparameters(spec.plain())
        self.space, self.codebook = spec.space, spec.codebook
        self.head = spec.make_head()
        self.network = spec.build_network(self.allow)
        self.objective = Objective(spec.loss, self.codebook, spec.head, self.allow)
        self.teacher: Teacher | None = None
        if spec.teacher.always or self.objective.needs_teacher:
            self.teacher = Teacher(self.network, spec.teacher.decay)
        self.peer: nn.Module | None = None
        if self.objective.needs_peer:
            # Drawn after the student, whose initial weights are the same without a peer.
            self.peer = spec.build_network(self.allow)
        for network in self.learners.values() if spec.init.freeze else ():
            freeze(spec.init, network, self.another)
        self.predict_with = chosen(spec.predict_with, tuple(self.networks))
        if spec.channels_last:
            put_channels_last(self)
        if spec.compile:
            for member in self.networks.values():
                average = member.average.module if isinstance(member, Teacher) else member
                compile_network(average, spec.compile)
        self._dice: dict[str, dict[int, Tensor]] = {}
        self._steps = sys.maxsize  # of the whole training, once a trainer says so

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

    def another(self, images: int = 0, outputs: int = 0) -> nn.Module:
        """Build a network of the same kind, with so many channels more."""
        return self.spec.build_network(self.allow, images, outputs)

    @classmethod
    def load_from_checkpoint(cls, checkpoint_path: Any, *_: Any, **more: Any) -> Any:
        """Return what `restored` does; of Lightning's other arguments none is needed."""
        return restored(Path(checkpoint_path), more.get("allow", ()))

    def forward(self, image: Tensor) -> Tensor:
        """Return the logits `[B, N, *S]` of the network that predicts, of prepared images."""
        return heads_of(self.predictor, self.predictor(image), image)[0]

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Return the objective of one composed batch, summed over the networks that learn."""
        begin_step(self.spec.compile)
        batch = complete_batch(batch)  # after all that changes images
        image = batch.image
        outputs = {name: heads_of(net, net(image), image) for name, net in self.learners.items()}
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
                progress=min(self.global_step / self._steps, 1.0),
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
        settings = self.spec.teacher
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
        image = complete_volume(sample.image, sample.present, self.spec.missing_modality)
        for name, network in self.networks.items():
            leaves = predict_volume(network, image, self.head, self.spec.window, self.device)
            codes = sample.codes.to("cpu")
            found[name] = torch.from_numpy(leaves)
            dice = class_dice(found[name], codes, self.codebook)
            self._dice.setdefault(name, {})[sample.number] = dice
        return found[self.predict_with]

    def on_validation_epoch_end(self) -> None:
        """Log the mean Dice per class and over leaves, of the scans of all ranks.

        If the annotations name no leaf but the background, the mean is that over super-classes.
        """
        for name, values in self._dice.items():
            per_class = torch.stack(of_all_ranks(values)).nanmean(dim=0)
            leaves = [k for k in range(self.space.num_leaves) if k != self.space.background]
            mean = per_class[leaves].nanmean()
            if mean.isnan():
                mean = per_class[self.space.num_leaves :].nanmean()
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
        rate, init = self.spec.optimizer.lr, self.spec.init
        learning = (groups(init, n, rate, self.another) for n in self.learners.values())
        parameters = chain.from_iterable(learning)
        optimizer = make_optimizer(self.spec.optimizer, parameters, self.allow)
        entries: list[dict[str, Any]] = []
        self._steps = total_steps(self.trainer)
        for schedule in make_schedules(self.spec.optimizer, optimizer, self._steps, self.allow):
            entry: dict[str, Any] = {"scheduler": schedule, "interval": "step"}
            if isinstance(schedule, ReduceLROnPlateau):
                # Never by Lightning, see `on_train_epoch_end`.
                entry |= {"interval": "epoch", "monitor": MONITOR, "frequency": sys.maxsize}
            entries.append(entry)
        return [optimizer], entries


def restored(path: Path, allow: Sequence[str] = ()) -> SegmentationModule:
    """Return the module of a checkpoint on the CPU, in training mode; raises `ConfigError`."""
    try:
        content = read_checkpoint(path)
        # Not by Lightning's own loader: names in a checkpoint would tell it what to import.
        with weighing(content["state_dict"]):
            module = SegmentationModule(ModuleSpec.read(content["hyper_parameters"]), allow)
        module.load_state_dict(content["state_dict"])
    except CheckpointError as error:
        raise ConfigError(str(error)) from None
    except (RuntimeError, KeyError, ValueError, TypeError) as error:
        raise ConfigError(f"{path} cannot be loaded: {error}") from None
    return module
