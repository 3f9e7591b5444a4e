"""The LightningDataModule: batches of fully, partially and unlabelled scans of all cohorts."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path

import lightning as L
import torch
from lightning.fabric.plugins.environments.slurm import SLURMEnvironment
from torch.utils.data import DataLoader

from neoseg.augment.settings import AugmentSettings
from neoseg.capacity import count_loaders, usable_cores
from neoseg.cohort import MissingModality, Plan, Source
from neoseg.cohort.split import SPLITS
from neoseg.findings.kinds import KINDS
from neoseg.labels import STREAMS
from neoseg.patches.batch import Batch, collate
from neoseg.patches.centres import visible_labels
from neoseg.patches.dataset import PatchDataset, PatchSettings, StepSampler, TrainingScan
from neoseg.patches.pseudo import with_pseudo_labels
from neoseg.patches.streams import Composition, compose
from neoseg.patches.volumes import VolumeDataset, VolumeSample
from neoseg.processes import init_worker, light_spawn
from neoseg.store.damage import DataError
from neoseg.store.examined import entries_of, guessed_meaning, without_window
from neoseg.store.leaks import Leaks, Member, by_image, require_none
from neoseg.store.store import Store

log = logging.getLogger(__name__)


class MixedDataModule(L.LightningDataModule):
    """Provide patches composed of the streams for training, and whole scans for validation.

    Processes that prepare the store at the same time share the work; each scan is prepared once.
    """

    def __init__(
        self,
        annotated: Plan,
        store: Store,
        patches: PatchSettings,
        augment: AugmentSettings,
        seed: int,
        with_teacher: bool = False,
        progress: Callable[[str], None] | None = None,
        missing_modality: MissingModality | None = None,
        leaks: Leaks = "stop",
    ) -> None:
        super().__init__()
        self.annotated = annotated
        self.store = store
        self.patches = patches
        self.augment = augment
        self.seed = seed
        self.with_teacher = with_teacher
        self.progress = progress
        self.first_step = 0
        """Number of the stage's first step in the patch stream, a multiple of those per epoch."""
        self.pseudo_labels: Path | None = None
        """Folder of codes that replace those of a scan."""
        self.missing_modality = missing_modality
        self.leaks = leaks
        self.members: list[Member] = []
        self.train: tuple[TrainingScan, ...] = ()
        self.val: tuple[TrainingScan, ...] = ()
        self.composition: Composition | None = None

    def prepare_data(self) -> None:
        """Prepare every scan of the plan, including those for the test, which is scored at the end.

        Raises:
            DataError: unusable scans, or images in two splits that show the same.
        """
        first, self.members = not self.members, []  # Lightning calls it again
        for source in self.annotated.sources:
            pairs = [(name, scan) for name in SPLITS for scan, _ in source.of_split(name)]
            scans = [scan for _, scan in pairs]
            examined = self.store.examine(source.cohort, scans, self.progress)
            entries_of(source.cohort, examined)
            notes = guessed_meaning(source.cohort, examined)
            notes += without_window(source.cohort, examined, self.store.settings)
            for note in notes if first else ():
                log.warning("%s", note)
            kinds = Counter(problem.kind for item in examined for problem in item.problems)
            if kinds and first:
                counts = "; ".join(f"{KINDS[kind]} ({number})" for kind, number in kinds.items())
                name = source.cohort.name
                log.warning("cohort '%s': %s; python -m neoseg.prepare tells each", name, counts)
            self.members += [
                Member(scan, split, item.digest, item.signature)
                for (split, scan), item in zip(pairs, examined, strict=True)
            ]
        remedy = "give both to one split, keep one, or set leaks=tell to go on all the same"
        require_none(by_image(self.members), self.leaks, remedy)

    def setup(self, stage: str | None = None) -> None:
        """Open the store and restrict its labels to those that the protocols reveal.

        Raises:
            DataError: nothing to train on.
        """
        if self.train:
            return
        self.train, self.val = self._open("train"), self._open("val")
        if not self.train:
            raise DataError("no scan is left for training; check split, annotation and cohort")
        self.composition = compose(
            [scan.stream for scan in self.train],
            self.patches.batch_size,
            self.patches.mix,
            [scan.source for scan in self.train],
            [source.weight for source in self.annotated.sources],
        )

    def _open(self, split: str) -> tuple[TrainingScan, ...]:
        sources = enumerate(self.annotated.sources)
        return tuple(scan for number, s in sources for scan in self._open_source(number, s, split))

    def _open_source(self, place: int, source: Source, split: str) -> Iterator[TrainingScan]:
        pairs, codebook = source.of_split(split), self.annotated.codebook
        limit = self.store.settings.locations
        entries = self.store.prepare(source.cohort, [scan for scan, _ in pairs])
        for entry, (scan, item) in zip(entries, pairs, strict=True):
            protocol = source.protocols[item.protocol]
            lookup = source.lookup(scan, item.protocol, codebook)
            seed = self.annotated.slice_seed(source, scan)
            visible = visible_labels(entry, lookup, protocol, codebook, seed, limit)
            training_scan = TrainingScan(entry, STREAMS.index(item.stream), visible, place)
            if split == "train" and self.pseudo_labels is not None:
                folder = self.annotated.folder(self.pseudo_labels, source)
                training_scan = with_pseudo_labels(training_scan, folder, codebook, limit)
            yield training_scan

    def train_dataloader(self) -> PatchLoader:
        """Return the loader of this rank's share of an epoch of composed batches."""
        assert self.composition is not None
        trainer = self.trainer
        dataset = PatchDataset(
            self.train,
            self.annotated.codebook,
            self.composition,
            self.patches,
            self.augment,
            self.seed,
            self.with_teacher,
            self.missing_modality,
        )
        rank, ranks = (trainer.global_rank, trainer.world_size) if trainer else (0, 1)
        workers = self._loaders()

        def done() -> int:
            # Counts batches rather than optimizer steps, because gradients may accumulate.
            ready = trainer.fit_loop.epoch_loop.batch_progress.total.ready if trainer else 0
            return self.first_step + ready

        sampler = StepSampler(
            self.patches.steps_per_epoch, self.patches.batch_size, rank, ranks, done
        )
        return PatchLoader(
            dataset,
            batch_sampler=sampler,
            num_workers=workers,
            collate_fn=collate,
            persistent_workers=workers > 0,
            pin_memory=trainer is not None and trainer.strategy.root_device.type == "cuda",
            multiprocessing_context=light_spawn() if workers else None,
            worker_init_fn=init_worker if workers else None,
        )

    def _loaders(self) -> int:
        """Return the number of loader processes of this training process."""
        if self.patches.workers is not None or self.trainer is None:
            return self.patches.workers or 0
        strategy, cores = self.trainer.strategy, usable_cores()
        environment = getattr(strategy, "cluster_environment", None)
        # SLURM assigns cores to each process; otherwise all processes share the machine's.
        if not isinstance(environment, SLURMEnvironment):
            cores //= self.trainer.num_devices
        return count_loaders(cores, strategy.root_device.type != "cpu")

    def transfer_batch_to_device(
        self, batch: Batch | VolumeSample, device: torch.device, dataloader_idx: int
    ) -> Batch | VolumeSample:
        """Copy a batch asynchronously, unlike Lightning's default."""
        return batch.sent(device) if isinstance(batch, Batch) else batch.to(device)

    def on_after_batch_transfer(
        self, batch: Batch | VolumeSample, dataloader_idx: int
    ) -> Batch | VolumeSample:
        """Apply on the device the changes that `augment.device` defers to it."""
        return batch.with_intensities() if isinstance(batch, Batch) else batch

    def val_dataloader(self) -> DataLoader[VolumeSample]:
        """Return a loader of this rank's share of whole validation scans, one at a time.

        All ranks get the same number, since they synchronise on stopping after each scan: if the
        scans cannot be shared evenly, some are used twice.
        """
        trainer, number = self.trainer, len(self.val)
        rank, ranks = (trainer.global_rank, trainer.world_size) if trainer else (0, 1)
        share = [(rank + ranks * n) % number for n in range(-(-number // ranks))]
        return DataLoader(VolumeDataset(self.val), batch_size=None, sampler=share)


AHEAD = 4
"""Batches that are cut in one go by a training without loader processes."""


class PatchLoader(DataLoader[Batch]):
    """Yield the batches of an epoch one by one.

    Without loader processes they are cut a few at a time: a training step evicts everything that
    cutting needs from the processor's caches, so the first batch after it takes half as long again
    as those that follow directly.
    """

    def __iter__(self) -> Iterator[Batch]:  # type: ignore[override]
        batches = super().__iter__()
        return batches if self.num_workers else _in_groups(batches, AHEAD)


def _in_groups(batches: Iterator[Batch], number: int) -> Iterator[Batch]:
    while group := list(islice(batches, number)):
        while group:
            yield group.pop(0)
