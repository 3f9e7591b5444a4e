"""The LightningDataModule: fully, partially and unlabelled scans of a cohort, mixed in batches."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import lightning as L
from torch.utils.data import DataLoader

from neoseg.cohort import Assignment, Cohort, Scan
from neoseg.data.batch import STREAMS, Batch, collate
from neoseg.data.centres import annotate
from neoseg.data.patches import (
    AugmentSettings,
    PatchDataset,
    PatchSettings,
    StepSampler,
    TrainingScan,
    VolumeDataset,
    VolumeSample,
)
from neoseg.data.pseudo import with_pseudo_labels
from neoseg.data.store import Store
from neoseg.data.streams import Composition, compose
from neoseg.data.volume import DataError
from neoseg.labels import PLANE_AXIS, Codebook, Protocol


@dataclass(frozen=True)
class Annotated:
    """A cohort with the plan of who is annotated how, and the label sets that follow from it."""

    cohort: Cohort
    assignments: tuple[Assignment, ...]
    protocols: dict[str, Protocol]
    codebook: Codebook

    @classmethod
    def plan(
        cls, cohort: Cohort, assignments: Sequence[Assignment], protocols: dict[str, Protocol]
    ) -> Annotated:
        """Build the codebook of every (convention, protocol) pair that can occur."""
        sets = cohort.convention.sets
        space = cohort.convention.space
        told = [protocol.apply(s) for protocol in protocols.values() for s in sets]
        return cls(cohort, tuple(assignments), protocols, Codebook.build(space, told))

    def of_split(self, split: str) -> list[tuple[Scan, Assignment]]:
        """Return the scans of "train", "val" or "test" that the plan uses."""
        scans = {(scan.subject, scan.session): scan for scan in self.cohort.scans}
        return [
            (scans[(item.subject, item.session)], item)
            for item in self.assignments
            if item.split == split
        ]


class MixedDataModule(L.LightningDataModule):
    """Feeds patches composed of the streams, and whole scans for validation.

    The store is prepared by one process; the others wait and open it.
    """

    def __init__(
        self,
        annotated: Annotated,
        store: Store,
        patches: PatchSettings,
        augment: AugmentSettings,
        seed: int,
        teacher_view: bool = False,
        progress: Callable[[str], None] | None = None,
        first_step: int = 0,
        pseudo_labels: Path | None = None,
    ) -> None:
        """Take the parts; the last two are for a later stage of a recipe.

        `first_step` is the number of its first step in the stream of patches, a multiple of the
        steps per epoch; `pseudo_labels` a folder of codes that stand in for those of a scan.
        """
        super().__init__()
        self.annotated = annotated
        self.store = store
        self.patches = patches
        self.augment = augment
        self.seed = seed
        self.teacher_view = teacher_view
        self.progress = progress
        self.first_step = first_step
        self.pseudo_labels = pseudo_labels
        self.train: tuple[TrainingScan, ...] = ()
        self.val: tuple[TrainingScan, ...] = ()
        self.composition: Composition | None = None

    def prepare_data(self) -> None:
        """Prepare every scan of training and validation (one process per machine)."""
        scans = [scan for s in ("train", "val") for scan, _ in self.annotated.of_split(s)]
        self.store.prepare(self.annotated.cohort, scans, self.progress)

    def setup(self, stage: str | None = None) -> None:
        """Open the store and restrict it to what the protocols tell.

        Raises:
            DataError: nothing to train on.
        """
        if self.train:
            return
        self.train, self.val = self._open("train"), self._open("val")
        if not self.train:
            raise DataError("no scan is left for training; check split, annotation and cohort")
        self.composition = compose(
            [scan.stream for scan in self.train], self.patches.batch_size, self.patches.mix
        )

    def _open(self, split: str) -> tuple[TrainingScan, ...]:
        pairs = self.annotated.of_split(split)
        cohort, codebook = self.annotated.cohort, self.annotated.codebook
        entries = self.store.prepare(cohort, [scan for scan, _ in pairs])
        result = []
        for entry, (scan, item) in zip(entries, pairs, strict=True):
            protocol = self.annotated.protocols[item.protocol]
            lookup = codebook.lookup([protocol.apply(s) for s in cohort.convention.sets])
            axis = PLANE_AXIS[protocol.slices.plane] if protocol.slices else 0
            seed = (self.seed, zlib.crc32(scan.id.encode()))
            limit = self.store.settings.locations
            annotation = annotate(entry, lookup, protocol, codebook, seed, axis, limit)
            known = TrainingScan(entry, STREAMS.index(item.stream), annotation)
            if split == "train" and self.pseudo_labels is not None:
                known = with_pseudo_labels(known, self.pseudo_labels, codebook, limit)
            result.append(known)
        return tuple(result)

    def train_dataloader(self) -> DataLoader[Batch]:
        """Return the loader of one epoch of composed batches, this rank's share."""
        assert self.composition is not None
        trainer = self.trainer
        dataset = PatchDataset(
            self.train,
            self.annotated.codebook,
            self.composition,
            self.patches,
            self.augment,
            self.seed,
            self.teacher_view,
        )
        rank, ranks = (trainer.global_rank, trainer.world_size) if trainer else (0, 1)

        def done() -> int:
            # Counts batches, so that it is right under gradient accumulation as well.
            ready = trainer.fit_loop.epoch_loop.batch_progress.total.ready if trainer else 0
            return self.first_step + ready

        sampler = StepSampler(
            self.patches.steps_per_epoch, self.patches.batch_size, rank, ranks, done
        )
        return DataLoader(
            dataset,
            batch_sampler=sampler,
            num_workers=self.patches.workers,
            collate_fn=collate,
            persistent_workers=self.patches.workers > 0,
            pin_memory=trainer is not None and trainer.strategy.root_device.type == "cuda",
            # Spawned workers never inherit locks or threads; forked ones can hang.
            multiprocessing_context="spawn" if self.patches.workers else None,
        )

    def val_dataloader(self) -> DataLoader[VolumeSample]:
        """Return whole validation scans, one at a time."""
        return DataLoader(VolumeDataset(self.val), batch_size=None)
