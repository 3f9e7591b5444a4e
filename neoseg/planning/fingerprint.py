"""Fingerprint of a cohort: the sizes, voxel sizes, intensities and counts that planning needs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from neoseg.cohort import Plan
from neoseg.cohort.split import SPLITS
from neoseg.configuration.run import RunConfig
from neoseg.planning.ct import Computed, Inspected, spread
from neoseg.progress import progress_bar
from neoseg.store.store import Store
from neoseg.store.voxel_size import Size, median_size, scan_sizes


@dataclass(frozen=True)
class Fingerprint:
    """The properties of the data that the planning rules depend on.

    Attributes:
        fields: field of view of the inspected scans in mm along X, Y, Z.
        heads: the same after cropping to the head.
        spacings: their voxel sizes in mm.
        voxel_size: the given one, or the median of the training scans of all cohorts, in mm.
        train, val: number of training and validation scans.
        streams: number of streams that share a batch.
        images: number of input channels.
        leaves: number of structures, including background.
        computed: what is known of the scans if all are CTs (computed tomography), else None.
        cohorts: number of cohorts.
    """

    fields: tuple[Size, ...]
    heads: tuple[Size, ...]
    spacings: tuple[Size, ...]
    voxel_size: Size
    train: int
    val: int
    streams: int
    images: int
    leaves: int
    computed: Computed | None = None
    cohorts: int = 1

    @classmethod
    def of(cls, run: RunConfig, plan: Plan, normalised: bool = False) -> Fingerprint:
        """Inspect some training scans, evenly spread over all cohorts; prepare them if necessary.

        Args:
            run: configuration of the run.
            plan: of its annotations.
            normalised: whether the configuration says how intensities are scaled.

        Raises:
            DataError: unusable scans.
        """
        scans = _scans_of(plan)
        inspected = spread(scans)
        with progress_bar("look for CT") as bar:
            computed = None if normalised else Computed.of(scans, plan, bar.update_to)
        store = run.open_store(plan.sources[0].cohort)
        if computed is not None and computed.window is not None and len(plan.modalities) == 1:
            # The crop goes by what the window leaves of a scan.
            window = {"normalise": "window", "window": computed.window}
            store = Store(store.root, store.settings.model_copy(update=window))
        with progress_bar("prepare", total=len(inspected)) as bar:
            entries = [
                entry
                for source in plan.sources
                for entry in store.prepare(
                    source.cohort, [s for of, s, _ in inspected if of is source], bar.advance
                )
            ]
        grids = [entry.geometry for entry in entries]
        crops = [[high - low for low, high in grid.crop] for grid in grids]
        spacings = tuple(grid.canonical_spacing for grid in grids)
        training = plan.of_split("train")
        return cls(
            tuple(_times(g.canonical_shape, s) for g, s in zip(grids, spacings, strict=True)),
            tuple(_times(crop, s) for crop, s in zip(crops, spacings, strict=True)),
            spacings,
            run.store.spacing or median_size(scan_sizes([s for _, s, _ in scans]) or spacings),
            len(training),
            len(plan.of_split("val")),
            len({item.stream for _, item in training}),
            run.input_channels(plan),
            plan.space.num_leaves,
            computed,
            len(plan.sources),
        )

    def shape(self, spacing: Sequence[float], cropped: bool) -> tuple[int, int, int]:
        """Return the median shape in voxels for a voxel size in mm."""
        extent = np.median(self.heads if cropped else self.fields, axis=0)
        x, y, z = np.maximum(1, np.rint(extent / np.asarray(spacing))).astype(int).tolist()
        return x, y, z


def _times(lengths: Sequence[int], spacing: Size) -> Size:
    x, y, z = (n * voxel for n, voxel in zip(lengths, spacing, strict=True))
    return x, y, z


def _scans_of(plan: Plan) -> list[Inspected]:
    """Return the training scans of all cohorts; without any, which is told later, the others."""
    pairs: list[Inspected] = []
    for split in SPLITS:
        pairs += [(s, *pair) for s in plan.sources for pair in s.of_split(split) if not pairs]
    return pairs
