"""Whether the scans of a run are CTs, and the window of intensities that their labels suggest."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from neoseg.cohort import Assignment, Plan, Scan, Source
from neoseg.labels import hide_slices
from neoseg.store import DataError, PrepareSettings
from neoseg.store.ct import RANGE, is_called_ct, is_in_hounsfield
from neoseg.store.preprocess import read_images
from neoseg.store.reading import read_labels

Inspected = tuple[Source, Scan, Assignment]
"""A scan of a run, its cohort and its annotation."""

Item = TypeVar("Item")

MAX_SCANS = 16
"""Largest number of scans that are inspected."""

SHARES = (0.5, 99.5)
"""Percentiles of labelled voxels that are the ends of the window (Isensee et al., nnU-Net, Nature
Methods 2021, which clips CT to them)."""

LEVELS = (np.arange(1000) + 0.5) / 1000
"""Quantiles of the labelled voxels of one scan: as in nnU-Net all scans count alike."""


@dataclass(frozen=True)
class Computed:
    """What is known of scans that are all CTs.

    Attributes:
        window: lowest and highest intensity to tell apart, in the units of the images; None if
            nothing is labelled, and the images are not in Hounsfield units either.
        labelled: number of scans by whose labels it was found; 0: all that a CT shows.
    """

    window: tuple[float, float] | None
    labelled: int

    @classmethod
    def of(
        cls, scans: Sequence[Inspected], plan: Plan, progress: Callable[[int, int], None]
    ) -> Computed | None:
        """Read the first image and the labels of some scans; None after the first that is no CT.

        These are up to `MAX_SCANS` evenly spread over all, and as many over those with labels. CTs
        are called so by their data set or the name of the image, or have as much air as one in
        Hounsfield units. Labels count as far as the annotation plan shows them. `progress` is
        called with the numbers of CTs that were read and of scans to read.
        """
        labelled_ones = spread([n for n, one in enumerate(scans) if _tells(*one)])
        values: list[np.ndarray] = []
        in_hounsfield = True
        numbers = sorted({*spread(range(len(scans))), *labelled_ones})
        for done, number in enumerate(numbers, start=1):
            source, scan, item = scans[number]
            try:
                (image,) = read_images(scan.images[:1], PrepareSettings())
                assert image is not None  # the first modality is never missing
                hounsfield = is_in_hounsfield(image.data)
                in_hounsfield &= hounsfield
                if not (hounsfield or is_called_ct(scan, source.cohort)):
                    return None
                labelled = _labelled(image.data, source, scan, item, plan)
            except DataError:  # the preparation tells it
                return None
            if labelled.size:
                values.append(np.quantile(labelled, LEVELS))
            progress(done, len(numbers))
        window = _rounded(*np.percentile(np.stack(values), SHARES)) if values else None
        if window is not None:
            return cls(window, len(values))
        return cls(RANGE if in_hounsfield else None, 0)


def spread(items: Sequence[Item]) -> list[Item]:
    """Return up to `MAX_SCANS` items, evenly spread."""
    places = np.linspace(0, len(items) - 1, min(MAX_SCANS, len(items)))
    return [items[place] for place in places.round().astype(int)]


def _tells(source: Source, scan: Scan, item: Assignment) -> bool:
    """Return whether the annotation can show a structure."""
    background = source.cohort.convention.space.background
    return scan.label is not None and any(
        background not in leaves for leaves in source.told(scan, item.protocol)
    )


def _labelled(
    image: np.ndarray, source: Source, scan: Scan, item: Assignment, plan: Plan
) -> np.ndarray:
    """Return the intensities where the annotation shows structures, `[N]`."""
    if not _tells(source, scan, item):
        return image[:0].ravel()
    codebook, protocol = plan.codebook, source.protocols[item.protocol]
    codes = read_labels(scan, scan.meaning(source.cohort.convention), None)[0]
    if codes.shape != image.shape:
        raise DataError(f"{scan.label} is on another grid than the image")
    rows = source.lookup(scan, item.protocol, codebook)[codes]
    slices = protocol.slices_of(rows, codebook, plan.slice_seed(source, scan))
    hide_slices(rows, slices, protocol.slice_axis)
    intensities: np.ndarray = image[~codebook.rows[rows, codebook.space.background]]
    return intensities


def _rounded(low: float, high: float) -> tuple[float, float] | None:
    """Return a window in whole units, or two digits of those below ten; None if it is empty."""
    if low == high:
        return None
    digits = max(0, 1 - math.floor(math.log10(high - low)))
    return round(float(low), digits), round(float(high), digits)
