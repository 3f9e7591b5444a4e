"""Whether the scans of a run are CTs, and the window of intensities that their labels suggest."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from neoseg.cohort import Assignment, Plan, Scan, Source
from neoseg.labels import hide_slices
from neoseg.store import DataError
from neoseg.store.ct import RANGE, is_called_ct, is_in_hounsfield
from neoseg.store.preprocess import read_images
from neoseg.store.reading import read_labels

Inspected = tuple[Source, Scan, Assignment]
"""A scan of a run, its cohort and its annotation."""

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
    def of(cls, scans: Sequence[Inspected], plan: Plan) -> Computed | None:
        """Read the first image and the labels of scans; None after the first that is no CT.

        CTs are called so by their data set or the name of the image, or have as much air as one in
        Hounsfield units. Labels count as far as the annotation plan shows them.
        """
        values: list[np.ndarray] = []
        in_hounsfield = True
        for source, scan, item in scans:
            try:
                (image,) = read_images(scan.images[:1])
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
        window = _rounded(*np.percentile(np.stack(values), SHARES)) if values else None
        if window is not None:
            return cls(window, len(values))
        return cls(RANGE if in_hounsfield else None, 0)


def _labelled(
    image: np.ndarray, source: Source, scan: Scan, item: Assignment, plan: Plan
) -> np.ndarray:
    """Return the intensities where the annotation shows structures, `[N]`."""
    if scan.label is None:
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
    """Return a window in whole units, or three digits of narrow ones; None if it is empty."""
    if low == high:
        return None
    digits = max(0, 2 - math.floor(math.log10(high - low)))
    return round(float(low), digits), round(float(high), digits)
