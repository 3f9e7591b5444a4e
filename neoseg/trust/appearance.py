"""How unlike the known scans a scan is: voxels, extent, brightness, sharpness, and its answer.

An answer of another volume, on other brightness, or with less agreement than usual shows what the
image alone may not, such as a contrast that is turned around.

The flag is a conformal p-value: with n known scans that are exchangeable with this one, it is at
most p with a probability of p, so at most one in 20 scans of the same kind is flagged at 0.05.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from neoseg.store import Geometry

_QUANTILES = (1, 10, 25, 50, 75, 90, 99)

_LEAST = 0.02
"""Spread that counts as one at least: a percent or two of a size, or of a standard deviation."""


def appearance(
    image: np.ndarray, geometry: Geometry, labelled: np.ndarray, agreement: float
) -> dict[str, float]:
    """Return what a scan and its answer look like, as numbers by name.

    Args:
        image: its first channel as prepared, `[X, Y, Z]`.
        geometry: how that lies in the file.
        labelled: where it was decided that there is a structure, bool on the same grid.
        agreement: see `Agreement`, the mean over structures.
    """
    spacing = geometry.canonical_spacing
    found = {f"voxel size {a}": math.log(mm) for a, mm in zip("XYZ", spacing, strict=True)}
    for axis, (low, high), mm in zip("XYZ", geometry.crop, spacing, strict=True):
        found[f"extent {axis}"] = math.log(max((high - low) * mm, 1e-3))
    values = image.astype(np.float32)
    middle, scale = float(values.mean()), float(values.std()) or 1.0
    levels = (np.percentile(values, _QUANTILES) - middle) / scale
    found |= {f"brightness at {q} %": float(v) for q, v in zip(_QUANTILES, levels, strict=True)}
    found["volume labelled"] = math.log(1 + int(labelled.sum())) + sum(map(math.log, spacing))
    inside = float(values[labelled].mean()) if labelled.any() else middle
    found["brightness where labelled"] = (inside - middle) / scale
    found["agreement"] = agreement
    for number, axis in enumerate("XYZ"):
        if values.shape[number] > 2:
            steps = np.diff(values, axis=number)
            bends = np.diff(steps, axis=number)
            found[f"steps along {axis}"] = math.log(float(np.abs(steps).mean()) / scale + 1e-6)
            found[f"noise along {axis}"] = math.log(float(np.abs(bends).mean()) / scale + 1e-6)
    return found


def unlikeness(
    known: Sequence[Mapping[str, float]], scan: Mapping[str, float]
) -> tuple[float, str]:
    """Return the p-value of a scan among known ones, and in what it is least like them.

    Each scan's score is its largest distance from the median of all (this one included), in median
    absolute deviations; p is the share of all scans whose score is at least that of this one.
    """
    names = sorted(scan)
    rows = np.array([[other.get(name, math.nan) for name in names] for other in (*known, scan)])
    rows = np.where(np.isfinite(rows), rows, 1e3)
    away = np.abs(rows - np.median(rows, axis=0))
    away /= np.maximum(np.median(away, axis=0), _LEAST)
    scores = away.max(axis=1)
    return float((scores >= scores[-1]).mean()), names[int(away[-1].argmax())]
