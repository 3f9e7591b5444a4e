"""Draw training patches before and after augmentation."""

import logging
from collections.abc import Sequence
from copy import copy
from typing import Annotated

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig
from pydantic import Field

from neoseg.augment import AugmentSettings
from neoseg.augment.torchio_transforms import apply_torchio
from neoseg.commands.gallery import Panel, Sample, write_sheet
from neoseg.configuration.outputs import OutputFile, ending_in
from neoseg.configuration.run import RunConfig
from neoseg.labels import STREAMS
from neoseg.losses import Objective
from neoseg.patches.dataset import PatchDataset
from neoseg.planning.make import parse_planned
from neoseg.progress import progress_bar
from neoseg.training.recipe import stages_of

log = logging.getLogger(__name__)


class SheetConfig(RunConfig):
    """Schema of `conf/sheet.yaml`: a training, and which of its patches are drawn."""

    output: Annotated[OutputFile, ending_in(".png")]
    samples: int = Field(default=6, ge=1)
    first_step: int = Field(default=0, ge=0)


def main(config: DictConfig) -> None:
    """Draw patches of a training, before and after augmentation."""
    command = parse_planned(SheetConfig, config, HydraConfig.get())
    plan = command.plan()
    objective = Objective(command.loss, plan.codebook, command.head, command.allow)
    with progress_bar("prepare", total=len(plan.assignments)) as bar:
        data = command.data(plan, objective.needs_teacher, bar.advance)
        data.prepare_data()
        data.setup()
    dataset = data.train_dataloader().dataset
    assert isinstance(dataset, PatchDataset)
    size = data.patches.batch_size
    first = command.first_step * size
    keys = [divmod(number, size) for number in range(first, first + command.samples)]
    samples = [sample_of(dataset, step, item, plan.modalities) for step, item in keys]
    write_sheet(command.output, samples, plan.codebook, data.store.settings.shown)
    log.info("%d patches drawn: %s", len(samples), command.output)
    if any(stage.predicts for stage in stages_of(command.recipe)):
        log.info("they show the annotations; the recipe's pseudo-labels are added in the training")


def sample_of(dataset: PatchDataset, step: int, item: int, modalities: Sequence[str]) -> Sample:
    """Return a patch with and without augmentation, and a description of the changes."""
    plain = copy(dataset)
    plain.augment, plain.with_teacher = AugmentSettings(), False
    original, batch = plain[step, item], dataset[step, item].with_intensities()
    patch = dataset.draw(step, item)
    scan = dataset.scans[patch.scan]
    panels = [
        Panel("original", original.image[0].numpy()),
        Panel("augmented", batch.image[0].numpy()),
        Panel("what is known", batch.image[0].numpy(), batch.codes[0].numpy()),
    ]
    if batch.teacher_image is not None:
        panels.append(Panel("of the teacher", batch.teacher_image[0].numpy()))
    changes = list(patch.geometry.parts)
    for name, channel in zip(modalities, patch.appearances[0], strict=True):
        prefix = f"{name}: " if len(modalities) > 1 else ""
        changes += [prefix + part for part in channel.parts]
    spacing, transforms = scan.entry.geometry.spacing, dataset.augment.torchio
    if transforms:
        seed = dataset.torchio_seed(step, item)
        applied = apply_torchio(patch.image, transforms, spacing, seed)[1]
        changes += [f"TorchIO's {name}" for name in applied]
    return Sample(
        title=f"{scan.entry.scan.id}, {STREAMS[scan.stream]}, step {step}, item {item}",
        changes=", ".join(changes) or "unchanged",
        spacing=spacing,
        panels=tuple(panels),
    )
