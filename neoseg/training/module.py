"""The LightningModule: network, head and objective, and the networks trained along with it."""

import sys
from collections.abc import Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import lightning as L
import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import ReduceLROnPlateau

from neoseg.inference.checkpoint import loading, read_checkpoint
from neoseg.inference.model import ModelSpec, chosen
from neoseg.inference.window import predict_volume
from neoseg.losses import Objective, Prediction
from neoseg.networks import weighing
from neoseg.networks.outputs import heads_of
from neoseg.patches.batch import Batch
from neoseg.patches.completion import complete_batch, complete_volume
from neoseg.patches.volumes import VolumeSample
from neoseg.training.agreement import mean_values, of_all_ranks, validation_values
from neoseg.training.onednn import exact_convolutions
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
"""Validation Dice of the predictor, averaged over leaves (without background) and scans."""


class ModuleSpec(ModelSpec):
    """A network and its training settings.

    Attributes:
        loss: `conf/loss` entries by name.
        optimizer: a `conf/optimizer` entry.
        teacher: a `conf/teacher` entry.
        compile: compile the networks with torch.compile; a string selects its mode.
        channels_last: store convolution weights in channels-last memory format, in which
            convolutions then compute.
        init: which parts are frozen, and which learn at a lower rate.
    """

    loss: dict[str, dict[str, Any] | None]
    optimizer: OptimizerSettings
    teacher: TeacherSettings
    compile: Compiling = False
    channels_last: bool = False
    init: InitSettings = InitSettings()


class SegmentationModule(L.LightningModule):
    """Train any network with any weighted sum of loss terms, without special cases for either.

    A term may require a teacher, the moving average of the network (the student), or a peer, a
    second network of the same kind with other initial weights. The peer is trained with the same
    objective, which is added to the student's; each of the two is the other's peer. Both use the
    same teacher, the student's average.

    Args:
        spec: the network and its training settings; stored in checkpoints as plain containers.
        allow: additional packages whose networks, losses and optimizers may be built.
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
            # Built after the student, so that its initial weights do not depend on a peer.
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
        self._steps = sys.maxsize  # of the whole training; set in `configure_optimizers`

    @property
    def networks(self) -> dict[str, nn.Module]:
        """All networks that can predict, by name; "student" is always present."""
        candidates = {"student": self.network, "peer": self.peer, "teacher": self.teacher}
        return {name: network for name, network in candidates.items() if network is not None}

    @property
    def learners(self) -> dict[str, nn.Module]:
        """The networks that the optimizer trains."""
        return {name: n for name, n in self.networks.items() if n is not self.teacher}

    @property
    def predictor(self) -> nn.Module:
        """The network used for prediction, selected by `predict_with`."""
        return self.networks[self.predict_with]

    def another(self, images: int = 0, outputs: int = 0) -> nn.Module:
        """Build a network of the same kind with additional image and output channels."""
        return self.spec.build_network(self.allow, images, outputs)

    @classmethod
    def load_from_checkpoint(cls, checkpoint_path: Any, *_: Any, **more: Any) -> Any:
        """Return `restored(checkpoint_path, allow)`; Lightning's other arguments are ignored."""
        return restored(Path(checkpoint_path), more.get("allow", ()))

    def forward(self, image: Tensor) -> Tensor:
        """Return the predictor's logits `[B, N, *S]` for prepared images."""
        return heads_of(self.predictor, self.predictor(image), image)[0]

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Return the objective of one composed batch, summed over the trained networks."""
        begin_step(self.spec.compile)
        batch = complete_batch(batch)  # after everything that changes images
        image, channels = batch.image, self.head.channels
        with exact_convolutions(image.device):
            outputs = {
                n: heads_of(net, net(image), image, channels) for n, net in self.learners.items()
            }
        teacher, teacher_mean = self._teacher_outputs(batch)
        losses = []
        for name, heads in outputs.items():
            peers = [logits[0] for peer, logits in outputs.items() if peer != name]
            prediction = Prediction(
                heads[0],
                self.head.name,
                teacher=teacher,
                stream=batch.stream,
                peer=peers[0] if peers else None,
                teacher_mean=teacher_mean,
                progress=min(self.global_step / self._steps, 1.0),
            )
            loss, parts = deep_objective(self.objective, heads, prediction, batch.codes)
            losses.append(loss)
            prefix = "train" if name == "student" else f"train/{name}"
            for term, value in parts.items():
                self.log(f"{prefix}/{term}", value, logger=False, batch_size=len(batch))
        total = torch.stack(losses).sum()
        # Passed to the loggers by `StepCurves`, before a checkpoint of the same step.
        self.log("train/loss", total, prog_bar=True, logger=False, batch_size=len(batch))
        return total

    def _teacher_outputs(self, batch: Batch) -> tuple[Tensor | None, Tensor | None]:
        """Return the teacher's logits and mean probabilities, if a loss term needs them."""
        if self.teacher is None or not self.objective.needs_teacher or batch.teacher_image is None:
            return None, None
        logits = self.teacher(batch.teacher_image)
        settings = self.spec.teacher
        if not self.objective.needs_passes:
            return logits, None
        if not settings.passes:
            return logits, self._probabilities(logits.float())
        assert batch.noise_seed is not None  # set together with the teacher's view
        return logits, self.teacher.mean_probabilities(
            batch.teacher_image,
            batch.noise_seed,
            settings.passes,
            settings.noise,
            self._probabilities,
        )

    def _probabilities(self, logits: Tensor) -> Tensor:
        """Return sigmoids per class or a softmax over leaves, with the channels of the logits."""
        return self.head.class_probabilities(logits)[:, : self.head.channels]

    def optimizer_step(self, *args: Any, **kwargs: Any) -> None:
        """Step the optimizer, then update the teacher."""
        super().optimizer_step(*args, **kwargs)
        if self.teacher is not None:
            self.teacher.update(self.network)

    def validation_step(self, sample: VolumeSample, batch_idx: int) -> Tensor:
        """Segment a whole scan with all networks; return the leaves of the predictor."""
        predictions = {}
        image = complete_volume(sample.image, sample.present, self.spec.missing_modality)
        for name, network in self.networks.items():
            leaves = predict_volume(network, image, self.head, self.spec.window, self.device)
            codes = sample.codes.to("cpu")
            predictions[name] = torch.from_numpy(leaves)
            values = validation_values(predictions[name], codes, self.codebook)
            self._dice.setdefault(name, {})[sample.number] = values
        return predictions[self.predict_with]

    def on_validation_epoch_end(self) -> None:
        """Log the mean Dice per class and over leaves, over the scans of all ranks."""
        for name, values in self._dice.items():
            per_class, mean = mean_values(of_all_ranks(values), self.space)
            self._log_dice(f"val/dice_{name}", mean)
            if name != self.predict_with:
                continue
            self._log_dice(MONITOR, mean, prog_bar=True)
            for entry, value in zip(self.space.classes, per_class, strict=True):
                if not value.isnan():
                    self._log_dice(f"val/dice/{entry.abbreviation}", value)
        self._dice = {}

    def on_train_epoch_end(self) -> None:
        """Step "plateau", since Lightning would do so only after the epoch's checkpoint."""
        schedulers = self.lr_schedulers()
        dice = self.trainer.callback_metrics.get(MONITOR)
        for scheduler in schedulers if isinstance(schedulers, list) else [schedulers]:
            if isinstance(scheduler, ReduceLROnPlateau) and dice is not None:
                scheduler.step(dice)

    def _log_dice(self, name: str, value: Tensor, prog_bar: bool = False) -> None:
        self.log(name, value.float().to(self.device), prog_bar=prog_bar, sync_dist=True)

    def configure_optimizers(self) -> Any:
        """Return one optimizer of all trained networks, and its schedules."""
        rate, init = self.spec.optimizer.lr, self.spec.init
        weights = (groups(init, n, rate, self.another) for n in self.learners.values())
        parameters = chain.from_iterable(weights)
        optimizer = make_optimizer(self.spec.optimizer, parameters, self.allow)
        entries: list[dict[str, Any]] = []
        self._steps = total_steps(self.trainer)
        for schedule in make_schedules(self.spec.optimizer, optimizer, self._steps, self.allow):
            entry: dict[str, Any] = {"scheduler": schedule, "interval": "step"}
            if isinstance(schedule, ReduceLROnPlateau):
                # Never stepped by Lightning, see `on_train_epoch_end`.
                entry |= {"interval": "epoch", "monitor": MONITOR, "frequency": sys.maxsize}
            entries.append(entry)
        return [optimizer], entries


def restored(path: Path, allow: Sequence[str] = ()) -> SegmentationModule:
    """Restore the module of a checkpoint on the CPU, in training mode; raises `ConfigError`."""
    with loading(path):
        content = read_checkpoint(path)
        # Not Lightning's own loader: it imports whatever classes a checkpoint names.
        with weighing(content["state_dict"]):
            module = SegmentationModule(ModuleSpec.read(content["hyper_parameters"]), allow)
        module.load_state_dict(content["state_dict"])
    return module
