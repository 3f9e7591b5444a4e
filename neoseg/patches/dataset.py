"""Training patches as a dataset: each a function of (seed, step, item)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch
from pydantic import Field, PositiveInt
from torch import Tensor
from torch.utils.data import Dataset, Sampler

from neoseg.augment.appearance import Appearance, draw_appearance
from neoseg.augment.label_contrast import Groups
from neoseg.augment.settings import AugmentSettings
from neoseg.augment.torchio_transforms import apply_torchio
from neoseg.augment.warp import Geometry3D, cut_patch, draw_geometry
from neoseg.cohort import MissingModality
from neoseg.findings.settings import Section
from neoseg.labels import MAX_CODES, STREAMS, Codebook
from neoseg.patches.batch import Batch
from neoseg.patches.centres import VisibleLabels, draw_centre
from neoseg.patches.completion import draw_presence
from neoseg.patches.streams import Composition
from neoseg.processes import one_thread
from neoseg.store.entry import StoreEntry

GEOMETRY, STUDENT, TEACHER, NOISE = 1, 2, 3, 4
TORCHIO, MODALITY = 8, 9
"""Independent random streams of one patch, so that a teacher's draw leaves the student's as is.

None is 0: NumPy pads seeds with zeros, and the order of the scans is seeded with three numbers.
"""


class PatchSettings(Section):
    """What a user writes in `conf/patches/*.yaml`."""

    size: tuple[PositiveInt, PositiveInt, PositiveInt] = Field(
        description="voxels; a 1 makes slices across that axis"
    )
    batch_size: int = Field(default=4, ge=1, description="patches of a step over all devices")
    steps_per_epoch: int = Field(default=100, ge=1, description="training steps per validation")
    foreground: float = Field(
        default=0.7, ge=0, le=1, description="share of class-balanced centres"
    )
    mix: dict[str, float] | None = None
    workers: int | None = Field(default=None, ge=0, description="loader processes per device")


@dataclass(frozen=True)
class TrainingScan:
    """A prepared scan with what the run may know of it; `source` is the number of its cohort."""

    entry: StoreEntry
    stream: int
    visible: VisibleLabels
    source: int = 0


@dataclass(frozen=True)
class DrawnPatch:
    """A patch as it was cut, and what is to be done with its intensities.

    Attributes:
        scan: its number among the training scans.
        geometry: by which it was cut.
        image: float32 `[M, X, Y, Z]`.
        codes: uint8 `[X, Y, Z]`, mirrored where the patch is.
        appearances: as the student sees it, and the teacher where there is one.
    """

    scan: int
    geometry: Geometry3D
    image: np.ndarray
    codes: np.ndarray
    appearances: tuple[Appearance, ...]


@dataclass(eq=False)
class PatchDataset(Dataset[Batch]):
    """Maps (step, item) to a batch of one patch.

    The patch depends on (seed, step, item) alone: whichever process or rank asks, whenever, gets
    the same bits.
    """

    scans: tuple[TrainingScan, ...]
    codebook: Codebook
    composition: Composition
    patches: PatchSettings
    augment: AugmentSettings
    seed: int
    with_teacher: bool
    missing_modality: MissingModality | None = None

    def __post_init__(self) -> None:
        # Any value can stand in a lookup, also for a code that does not occur.
        self.mirror = np.arange(MAX_CODES, dtype=np.uint8)
        self.mirror[: self.codebook.size] = self.codebook.mirror
        contrast = self.augment.label_contrast
        self.groups = None if contrast is None else Groups.of(contrast, self.codebook)

    def draw(self, step: int, item: int) -> DrawnPatch:
        """Cut a patch and draw what happens to its intensities."""
        _, number = self.composition.scan_of(self.seed, step, item)
        scan = self.scans[number]
        rng = np.random.default_rng([self.seed, step, item, GEOMETRY])
        size = self.patches.size
        centre = draw_centre(scan.visible, scan.entry.shape, size, self.patches.foreground, rng)
        geometry = draw_geometry(self.augment.spatial, rng, size, scan.entry.geometry.spacing)
        lookup = scan.visible.lookup
        image, codes = cut_patch(
            scan.entry,
            centre,
            size,
            geometry,
            self.mirror[lookup] if geometry.flipped else lookup,
            scan.visible.slices,
            scan.visible.slice_axis,
        )
        seen = self.augment.of_student(STREAMS[scan.stream])
        appearances = [
            draw_appearance(
                image,
                settings,
                self.groups,
                np.random.default_rng([self.seed, step, item, purpose]),
            )
            for settings, purpose in ((seen, STUDENT), (self.augment.of_teacher, TEACHER))
            if purpose == STUDENT or self.with_teacher
        ]
        return DrawnPatch(number, geometry, image, codes, tuple(appearances))

    def __getitem__(self, key: tuple[int, int]) -> Batch:
        # A patch is too small for several threads: they cost more time than they save.
        with one_thread(torch.device("cpu")):
            return self._made(*key)

    def _made(self, step: int, item: int) -> Batch:
        patch = self.draw(step, item)
        scan = self.scans[patch.scan]
        batch = Batch(
            image=torch.from_numpy(patch.image)[None],
            codes=torch.from_numpy(patch.codes)[None],
            stream=torch.tensor([scan.stream], dtype=torch.uint8),
            scan=torch.tensor([patch.scan]),
            present=draw_presence(
                scan.entry.scan, self.missing_modality, [self.seed, step, item, MODALITY]
            ),
            noise_seed=self._seed(step, item, NOISE) if self.with_teacher else None,
            appearances=patch.appearances[:1],
            teacher_appearances=patch.appearances[1:] or None,
        )
        if self.augment.device == "accelerator":
            return batch
        batch = batch.with_intensities()
        if not self.augment.torchio:
            return batch
        image = self._with_torchio(batch.image, scan, step, item, STUDENT)
        teacher = batch.teacher_image
        if teacher is not None and self.augment.of_teacher.torchio:
            teacher = self._with_torchio(teacher, scan, step, item, TEACHER)
        return replace(batch, image=image, teacher_image=teacher)

    def _with_torchio(
        self, image: Tensor, scan: TrainingScan, step: int, item: int, purpose: int
    ) -> Tensor:
        spacing, seed = scan.entry.geometry.spacing, self.torchio_seed(step, item, purpose)
        changed, _ = apply_torchio(image[0].numpy(), self.augment.torchio, spacing, seed)
        return torch.from_numpy(changed)[None]

    def torchio_seed(self, step: int, item: int, purpose: int = STUDENT) -> int:
        """Return what TorchIO is seeded with for the patch as student or teacher see it."""
        return int(self._seed(step, item, purpose, TORCHIO))

    def _seed(self, *purpose: int) -> Tensor:
        """Int64 `[1]`, 0 or above, for a generator other than NumPy's."""
        return torch.tensor([seed_of(self.seed, *purpose)])


def seed_of(*numbers: int) -> int:
    """Return a seed (int64, 0 or above) that follows from whole numbers alone."""
    sequence = np.random.SeedSequence(numbers)
    return int(sequence.generate_state(1, np.uint64)[0] >> np.uint64(1))


class StepSampler(Sampler[list[tuple[int, int]]]):
    """Yields the (step, item) keys of one epoch for one rank.

    `done` tells how many steps the training has behind it; asked anew at every epoch, it makes a
    resumed run go on with the very next step.
    """

    def __init__(
        self, steps_per_epoch: int, batch_size: int, rank: int, ranks: int, done: Callable[[], int]
    ) -> None:
        if batch_size % ranks:
            raise ValueError(
                f"patches.batch_size is {batch_size}, which {ranks} devices cannot share evenly; "
                f"use a multiple of {ranks}"
            )
        self.steps_per_epoch = steps_per_epoch
        share = batch_size // ranks
        self.items = range(rank * share, (rank + 1) * share)
        self.done = done

    def __len__(self) -> int:
        return self.steps_per_epoch

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        first = self.done()
        end = (first // self.steps_per_epoch + 1) * self.steps_per_epoch
        for step in range(first, end):
            yield [(step, item) for item in self.items]
