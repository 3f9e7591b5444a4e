"""Fingerprint of a cohort: the sizes, voxel sizes, intensities and counts that planning needs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from neoseg.cohort import Plan, Scan
from neoseg.configuration.run import RunConfig
from neoseg.progress import progress_bar
from neoseg.store import DataError, read_volume
from neoseg.store.voxel_size import Size

MAX_SCANS = 16
"""Largest number of scans that are inspected, evenly spread over the cohort."""

CT_AIR = -500.0
"""In a CT the first percentile is below this value (Hounsfield units), in an MRI it never is."""


@dataclass(frozen=True)
class Fingerprint:
    """The properties of the data that the planning rules depend on.

    Attributes:
        fields: field of view of the inspected scans of the first cohort in mm along X, Y, Z.
        heads: the same after cropping to the head.
        spacings: their voxel sizes in mm.
        voxel_size: median voxel size of all scans in mm.
        train, val: number of training and validation scans.
        streams: number of streams that share a batch.
        images: number of input channels.
        leaves: number of structures, including background.
        computed: whether the scans are CTs (computed tomography).
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
        """Inspect some scans of a run, preparing them if necessary.

        Raises:
            DataError: unusable scans.
        """
        cohort = plan.sources[0].cohort
        indices = np.linspace(0, len(cohort.scans) - 1, min(MAX_SCANS, len(cohort.scans)))
        scans = [cohort.scans[place] for place in indices.round().astype(int)]
        with progress_bar("prepare", total=len(scans)) as bar:
            entries = run.open_store(cohort).prepare(cohort, scans, bar.advance)
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
            all(_is_ct(scan) for scan in scans[:3]),
        )

    def shape(self, spacing: Sequence[float], cropped: bool) -> tuple[int, int, int]:
        """Return the median shape in voxels for a voxel size in mm."""
        extent = np.median(self.heads if cropped else self.fields, axis=0)
        x, y, z = np.maximum(1, np.rint(extent / np.asarray(spacing))).astype(int).tolist()
        return x, y, z


def _times(lengths: Sequence[int], spacing: Size) -> Size:
    x, y, z = (n * voxel for n, voxel in zip(lengths, spacing, strict=True))
    return x, y, z


def _is_ct(scan: Scan) -> bool:
    path = scan.images[0]
    assert path is not None  # the first modality is never missing
    try:
        return bool(np.percentile(read_volume(path).data, 1) < CT_AIR)
    except DataError:  # its cohort reads it differently
        return False
