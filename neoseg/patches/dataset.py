"""Dataset of training patches, each a function of (seed, step, item)."""

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
from neoseg.capacity import MAX_PROCESSES
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
"""Independent random streams of a patch: what the teacher draws does not change the student.

They are nonzero: NumPy pads seeds with zeros, and the order of scans is seeded with three numbers.
"""


class PatchSettings(Section):
    """Settings in `conf/patches/*.yaml`."""

    size: tuple[PositiveInt, PositiveInt, PositiveInt] = Field(
        description="voxels; a 1 makes slices across that axis"
    )
    batch_size: int = Field(default=4, ge=1, description="patches of a step over all devices")
    steps_per_epoch: int = Field(default=100, ge=1, description="training steps per validation")
    foreground: float = Field(
        default=0.7, ge=0, le=1, description="share of class-balanced centres"
    )
    mix: dict[str, float] | None = None
    workers: int | None = Field(
        default=None, ge=0, le=MAX_PROCESSES, description="loader processes per device"
    )


@dataclass(frozen=True)
class TrainingScan:
    """A prepared scan with the labels that the run may use; `source` is the index of its cohort."""

    entry: StoreEntry
    stream: int
    visible: VisibleLabels
    source: int = 0


@dataclass(frozen=True)
class DrawnPatch:
    """A patch as it was cut, and the intensity changes to be applied to it.

    Attributes:
        scan: its index among the training scans.
        geometry: by which it was cut.
        image: float32 `[M, X, Y, Z]`.
        codes: uint8 `[X, Y, Z]`, mirrored along with the patch.
        appearances: for the student, and for the teacher if there is one.
    """

    scan: int
    geometry: Geometry3D
    image: np.ndarray
    codes: np.ndarray
    appearances: tuple[Appearance, ...]


@dataclass(eq=False)
class PatchDataset(Dataset[Batch]):
    """Map (step, item) to a batch of one patch.

    The patch depends on (seed, step, item) alone: every process and rank gets the same bits at any
    time.
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
        # Covers all values, since lookups may contain any for codes that do not occur.
        self.mirror = np.arange(MAX_CODES, dtype=np.uint8)
        self.mirror[: self.codebook.size] = self.codebook.mirror
        contrast = self.augment.label_contrast
        self.groups = None if contrast is None else Groups.of(contrast, self.codebook)

    def draw(self, step: int, item: int) -> DrawnPatch:
        """Cut a patch and draw its intensity changes."""
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
        student_settings = self.augment.of_student(STREAMS[scan.stream])
        appearances = [
            draw_appearance(
                image,
                settings,
                self.groups,
                np.random.default_rng([self.seed, step, item, purpose]),
            )
            for settings, purpose in (
                (student_settings, STUDENT),
                (self.augment.of_teacher, TEACHER),
            )
            if purpose == STUDENT or self.with_teacher
        ]
        return DrawnPatch(number, geometry, image, codes, tuple(appearances))

    def __getitem__(self, key: tuple[int, int]) -> Batch:
        # Patches are too small to benefit from several threads.
        with one_thread(torch.device("cpu")):
            return self._make_item(*key)

    def _make_item(self, step: int, item: int) -> Batch:
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
        """Return the seed of TorchIO for the patch of the student or the teacher."""
        return int(self._seed(step, item, purpose, TORCHIO))

    def _seed(self, *purpose: int) -> Tensor:
        """Return a non-negative seed, int64 `[1]`, for a generator other than NumPy's."""
        return torch.tensor([seed_of(self.seed, *purpose)])


def seed_of(*numbers: int) -> int:
    """Return a non-negative int64 seed that is a function of integers."""
    sequence = np.random.SeedSequence(numbers)
    return int(sequence.generate_state(1, np.uint64)[0] >> np.uint64(1))


class StepSampler(Sampler[list[tuple[int, int]]]):
    """Yield the (step, item) keys of one epoch for one rank.

    `done` returns the number of completed steps; it is called at the start of every epoch, so that
    a resumed run continues with the next step.
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
        per_rank = batch_size // ranks
        self.items = range(rank * per_rank, (rank + 1) * per_rank)
        self.done = done

    def __len__(self) -> int:
        return self.steps_per_epoch

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        first = self.done()
        end = (first // self.steps_per_epoch + 1) * self.steps_per_epoch
        for step in range(first, end):
            yield [(step, item) for item in self.items]
