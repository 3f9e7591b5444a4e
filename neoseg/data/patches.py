"""Training patches and validation volumes as datasets."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor
from torch.utils.data import Dataset, Sampler

from neoseg.cohort import MissingModality
from neoseg.data.batch import Batch
from neoseg.data.centres import Annotation, draw_centre
from neoseg.data.intensity import IntensitySettings, augment_intensity
from neoseg.data.modality import draw_presence, presence
from neoseg.data.store import StoreEntry
from neoseg.data.streams import Composition
from neoseg.data.warp import SpatialSettings, cut_patch, draw_geometry
from neoseg.labels import UNKNOWN, Codebook

GEOMETRY, STUDENT, TEACHER, NOISE = 1, 2, 3, 4
MODALITY = 9
"""Independent random streams of one patch, so that a teacher's view leaves the student's as is.

None is 0: NumPy pads seeds with zeros, and the order of the scans is seeded with three numbers.
"""


class PatchSettings(BaseModel):
    """What a user writes in `conf/patches/*.yaml`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    size: tuple[int, int, int] = Field(description="voxels; a 1 makes slices across that axis")
    batch_size: int = Field(default=4, ge=1, description="patches of a step over all devices")
    steps_per_epoch: int = Field(default=100, ge=1, description="training steps per validation")
    foreground: float = Field(
        default=0.7, ge=0, le=1, description="share of class-balanced centres"
    )
    mix: dict[str, float] | None = None
    workers: int = Field(default=2, ge=0, description="loader processes per device")


class AugmentSettings(BaseModel):
    """What a user writes in `conf/augment/*.yaml`; null switches a part off."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    spatial: SpatialSettings | None = None
    intensity: IntensitySettings | None = None
    teacher: Literal["same"] | IntensitySettings | None = Field(
        default="same", description="of the teacher's view; same: as intensity, drawn anew"
    )


@dataclass(frozen=True)
class TrainingScan:
    """A prepared scan with what the run may know of it; `source` is the number of its cohort."""

    entry: StoreEntry
    stream: int
    annotation: Annotation
    source: int = 0


class PatchDataset(Dataset[Batch]):
    """Maps (step, item) to a batch of one patch.

    The patch depends on (seed, step, item) alone: whichever process or rank asks, whenever, gets
    the same bits.
    """

    def __init__(
        self,
        scans: Sequence[TrainingScan],
        codebook: Codebook,
        composition: Composition,
        patches: PatchSettings,
        augment: AugmentSettings,
        seed: int,
        teacher_view: bool,
        missing_modality: MissingModality | None = None,
    ) -> None:
        self.scans = tuple(scans)
        self.mirror = codebook.mirror
        self.composition = composition
        self.patches = patches
        self.augment = augment
        self.seed = seed
        self.teacher_view = teacher_view
        self.missing_modality = missing_modality

    def __getitem__(self, key: tuple[int, int]) -> Batch:
        step, item = key
        stream, number = self.composition.scan_of(self.seed, step, item)
        scan = self.scans[number]
        rng = np.random.default_rng([self.seed, step, item, GEOMETRY])
        size = self.patches.size
        centre = draw_centre(scan.annotation, scan.entry.shape, size, self.patches.foreground, rng)
        geometry = draw_geometry(self.augment.spatial, rng, size, scan.entry.geometry.spacing)
        image, codes = cut_patch(
            scan.entry,
            centre,
            size,
            geometry,
            scan.annotation.lookup,
            scan.annotation.slices,
            scan.annotation.slice_axis,
        )
        if geometry.flipped:
            codes = self.mirror[codes]
        settings = self.augment.intensity
        batch = Batch(
            image=self._view(image, settings, step, item, STUDENT),
            codes=torch.from_numpy(np.ascontiguousarray(codes))[None],
            stream=torch.tensor([stream], dtype=torch.uint8),
            scan=torch.tensor([number]),
            present=draw_presence(
                scan.entry.scan,
                self.missing_modality,
                np.random.default_rng([self.seed, step, item, MODALITY]),
            ),
        )
        if not self.teacher_view:
            return batch
        settings = settings if self.augment.teacher == "same" else self.augment.teacher
        noise = np.random.SeedSequence([self.seed, step, item, NOISE]).generate_state(1, np.uint64)
        return replace(
            batch,
            teacher_image=self._view(image, settings, step, item, TEACHER),
            noise_seed=torch.tensor([int(noise[0] >> np.uint64(1))]),
        )

    def _view(
        self,
        image: np.ndarray,
        settings: IntensitySettings | None,
        step: int,
        item: int,
        purpose: int,
    ) -> Tensor:
        rng = np.random.default_rng([self.seed, step, item, purpose])
        view = augment_intensity(image, settings, rng)
        return torch.from_numpy(np.ascontiguousarray(view))[None]


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


@dataclass(frozen=True)
class VolumeSample:
    """A whole prepared scan: image `[M, X, Y, Z]`, codes uint8 `[X, Y, Z]`, its number, and which
    of its images it has.
    """

    image: Tensor
    codes: Tensor
    number: int
    present: tuple[bool, ...] = ()

    def to(self, *args: object, **kwargs: object) -> VolumeSample:
        """Move the tensors, as `Tensor.to`."""
        image = self.image.to(*args, **kwargs)  # type: ignore[call-overload]
        codes = self.codes.to(*args, **kwargs)  # type: ignore[call-overload]
        return VolumeSample(image, codes, self.number, self.present)


class VolumeDataset(Dataset[VolumeSample]):
    """Whole scans with the codes that their annotation tells, for validation."""

    def __init__(self, scans: Sequence[TrainingScan]) -> None:
        self.scans = tuple(scans)

    def __len__(self) -> int:
        return len(self.scans)

    def __getitem__(self, number: int) -> VolumeSample:
        entry, annotation = self.scans[number].entry, self.scans[number].annotation
        image = np.asarray(entry.image[:], dtype=np.float32)
        codes = np.zeros(entry.shape, dtype=np.uint8)
        if entry.annotated:
            codes = annotation.lookup[np.asarray(entry.codes[:])]
            if annotation.slices is not None:
                axes = [axis for axis in range(3) if axis != annotation.slice_axis]
                codes = np.where(np.expand_dims(annotation.slices, axes), codes, np.uint8(UNKNOWN))
        present = presence(entry.scan)
        return VolumeSample(torch.from_numpy(image), torch.from_numpy(codes), number, present)
