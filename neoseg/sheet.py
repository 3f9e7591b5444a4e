"""Draw what a training sees: `python -m neoseg.sheet +experiment=... augment=... output=x.png`."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from copy import copy
from pathlib import Path

from omegaconf import DictConfig

from neoseg.augment import AugmentSettings
from neoseg.augment.torchio_transforms import apply_torchio
from neoseg.configuration.assembly import (
    annotated_of,
    data_of,
    space_of,
    split_of,
    usable_cohort_of,
)
from neoseg.configuration.command import command
from neoseg.configuration.config import plain
from neoseg.findings.settings import ConfigError
from neoseg.gallery import Panel, Sample, write_sheet
from neoseg.labels import STREAMS
from neoseg.losses import Objective
from neoseg.patches.dataset import PatchDataset
from neoseg.progress import progress_bar

log = logging.getLogger(__name__)


@command("sheet")
def main(config: DictConfig) -> None:
    """Write a picture of the first patches of a training, before and after augmentation."""
    output = Path(config.output)
    if output.suffix.lower() != ".png":
        raise ConfigError(f"output is {output}, expected a file that ends in .png")
    if config.samples < 1 or config.first_step < 0:
        raise ConfigError("samples must be 1 or more and first_step 0 or more")
    with progress_bar("phantom") as bar:
        cohort = usable_cohort_of(config, space_of(config), bar.update_to)
    annotated = annotated_of(config, cohort, split_of(config, cohort))
    teacher = Objective(plain(config.loss), annotated.codebook, config.head).needs_teacher
    with progress_bar("prepare") as bar:
        data = data_of(config, annotated, teacher, bar.advance)
        data.prepare_data()
        data.setup()
    dataset = data.train_dataloader().dataset
    assert isinstance(dataset, PatchDataset)
    size = data.patches.batch_size
    keys = [divmod(config.first_step * size + number, size) for number in range(config.samples)]
    modalities = cohort.modalities
    samples = [sample_of(dataset, step, item, modalities) for step, item in keys]
    write_sheet(output, samples, annotated.codebook)
    log.info("%d patches drawn: %s", len(samples), output)


def sample_of(dataset: PatchDataset, step: int, item: int, modalities: Sequence[str]) -> Sample:
    """Return a patch with and without augmentation, and what was done to it."""
    bare = copy(dataset)
    bare.augment, bare.with_teacher = AugmentSettings(), False
    original, batch = bare[step, item], dataset[step, item].with_intensities()
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
        before = f"{name}: " if len(modalities) > 1 else ""
        changes += [before + part for part in channel.parts]
    spacing, transforms = scan.entry.geometry.spacing, dataset.augment.torchio
    if transforms:
        seed = dataset.torchio_seed(step, item)
        done = apply_torchio(patch.image, transforms, spacing, seed)[1]
        changes += [f"TorchIO's {name}" for name in done]
    return Sample(
        title=f"{scan.entry.scan.id}, {STREAMS[scan.stream]}, step {step}, item {item}",
        changes=", ".join(changes) or "unchanged",
        spacing=spacing,
        panels=tuple(panels),
    )


if __name__ == "__main__":
    main()
