"""Detect scans unlike the known ones, by voxel size, extent, brightness, sharpness and prediction.

A prediction with an unusual volume, brightness or agreement reveals differences that the image
alone may not, such as an inverted contrast.

The test is a conformal p-value: for a scan that is exchangeable with the n known ones, it is at
most p with a probability of at most p, so at most one in 20 such scans is flagged at 0.05.
"""

import math
from collections.abc import Mapping, Sequence

import numpy as np

from neoseg.store import Geometry

_QUANTILES = (1, 10, 25, 50, 75, 90, 99)

_MIN_SPREAD = 0.02
"""Minimum spread of a trait: about two percent of a size, or of a standard deviation."""


def appearance(
    image: np.ndarray, geometry: Geometry, labelled: np.ndarray, agreement: float
) -> dict[str, float]:
    """Return numbers by name that describe a scan and its prediction.

    Args:
        image: first channel of the prepared scan, `[X, Y, Z]`.
        geometry: position of the prepared scan in the file.
        labelled: bool mask of the voxels decided to be a structure, on the same grid.
        agreement: mean over structures, see `Agreement`.
    """
    spacing = geometry.canonical_spacing
    traits = {f"voxel size {a}": math.log(mm) for a, mm in zip("XYZ", spacing, strict=True)}
    for axis, (low, high), mm in zip("XYZ", geometry.crop, spacing, strict=True):
        traits[f"extent {axis}"] = math.log(max((high - low) * mm, 1e-3))
    values = image.astype(np.float32)
    mean, scale = float(values.mean()), float(values.std()) or 1.0
    levels = (np.percentile(values, _QUANTILES) - mean) / scale
    traits |= {f"brightness at {q} %": float(v) for q, v in zip(_QUANTILES, levels, strict=True)}
    traits["volume labelled"] = math.log(1 + int(labelled.sum())) + sum(map(math.log, spacing))
    inside = float(values[labelled].mean()) if labelled.any() else mean
    traits["brightness where labelled"] = (inside - mean) / scale
    traits["agreement"] = agreement
    for number, axis in enumerate("XYZ"):
        if values.shape[number] > 2:
            steps = np.diff(values, axis=number)
            bends = np.diff(steps, axis=number)
            traits[f"steps along {axis}"] = math.log(float(np.abs(steps).mean()) / scale + 1e-6)
            traits[f"noise along {axis}"] = math.log(float(np.abs(bends).mean()) / scale + 1e-6)
    return traits


def unlikeness(
    known: Sequence[Mapping[str, float]], scan: Mapping[str, float]
) -> tuple[float, str]:
    """Return the p-value of a scan among known ones, and the trait in which it differs most.

    The score of a scan is its largest distance from the median of all (this one included), in
    median absolute deviations; p is the share of all scans with at least the score of this one.
    """
    names = sorted(scan)
    rows = np.array(
        [[appearance.get(name, math.nan) for name in names] for appearance in (*known, scan)]
    )
    rows = np.where(np.isfinite(rows), rows, 1e3)
    distances = np.abs(rows - np.median(rows, axis=0))
    distances /= np.maximum(np.median(distances, axis=0), _MIN_SPREAD)
    scores = distances.max(axis=1)
    return float((scores >= scores[-1]).mean()), names[int(distances[-1].argmax())]
