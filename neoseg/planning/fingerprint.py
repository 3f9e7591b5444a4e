"""What of a cohort decides the settings: sizes, voxels, brightness, numbers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from neoseg.cohort import Plan, Scan
from neoseg.configuration.run import RunConfig
from neoseg.progress import progress_bar
from neoseg.store import DataError, read_volume
from neoseg.store.voxel_size import Size

READ = 16
"""Scans at most whose sizes are looked at, evenly spread over the cohort."""

AIR = -500.0
"""Below this the darkest hundredth of a CT lies, in Hounsfield units; no MRI has such voxels."""


@dataclass(frozen=True)
class Fingerprint:
    """What the rules go by.

    Attributes:
        fields: mm of the scans of the first cohort that were looked at, along X, Y, Z.
        heads: mm of what is left of them once they are cropped to the head.
        spacings: mm of their voxels.
        voxel_size: mm, the median of all scans.
        train, val: scans.
        streams: among which a batch is divided.
        images: that a network reads.
        leaves: structures, background included.
        computed: whether the brightness is that of a CT.
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
    computed: bool

    @classmethod
    def of(cls, run: RunConfig, plan: Plan) -> Fingerprint:
        """Look at some scans of a run, which are prepared where they are not yet.

        Raises:
            DataError: scans that cannot be used.
        """
        cohort = plan.sources[0].cohort
        places = np.linspace(0, len(cohort.scans) - 1, min(READ, len(cohort.scans)))
        chosen = [cohort.scans[place] for place in places.round().astype(int)]
        with progress_bar("prepare", total=len(chosen)) as bar:
            entries = run.open_store(cohort).prepare(cohort, chosen, bar.advance)
        grids = [entry.geometry for entry in entries]
        crops = [[high - low for low, high in grid.crop] for grid in grids]
        spacings = tuple(grid.canonical_spacing for grid in grids)
        training = plan.of_split("train")
        return cls(
            tuple(_times(g.canonical_shape, s) for g, s in zip(grids, spacings, strict=True)),
            tuple(_times(crop, s) for crop, s in zip(crops, spacings, strict=True)),
            spacings,
            cohort.voxel_size or spacings[0],
            len(training),
            len(plan.of_split("val")),
            len({item.stream for _, item in training}),
            run.input_channels(plan),
            plan.space.num_leaves,
            all(_is_ct(scan) for scan in chosen[:3]),
        )

    def shape(self, spacing: Sequence[float], cropped: bool) -> tuple[int, int, int]:
        """Return the median shape in voxels of some size (mm)."""
        extent = np.median(self.heads if cropped else self.fields, axis=0)
        x, y, z = np.maximum(1, np.rint(extent / np.asarray(spacing))).astype(int).tolist()
        return x, y, z


def _times(lengths: Sequence[int], spacing: Size) -> Size:
    x, y, z = (n * voxel for n, voxel in zip(lengths, spacing, strict=True))
    return x, y, z


def _is_ct(scan: Scan) -> bool:
    path = scan.images[0]
    assert path is not None  # the first is always there
    try:
        return bool(np.percentile(read_volume(path).data, 1) < AIR)
    except DataError:  # read otherwise by its cohort
        return False
