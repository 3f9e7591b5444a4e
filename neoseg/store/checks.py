"""What can be wrong with the voxels and the grid of a file; a small function for each."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from nibabel.orientations import aff2axcodes

from neoseg.findings.problems import Problem

GRID_TOLERANCE = 1e-3
"""Largest difference of two affines (mm) that still counts as rounding."""

FEW, ENOUGH = 16, 4096
"""Values of an image up to which it may be a label map, where it has so many voxels: one of 8 bits
has some hundred values.
"""

USUAL, FAR, MANY = (0.1, 99.9), 20.0, 1 << 20
"""Percentiles between which voxels are as usual, of about so many, and their ranges beyond which
they are no brightness any more: the brightest vessel is two or three away."""

VOXEL_SIZES = (0.05, 20.0)
"""mm; smaller or larger ones come from a header in other units."""


def one(
    path: Path,
    found: str,
    expected: str,
    action: str,
    kind: str,
    severity: Literal["error", "warning"] = "error",
) -> list[Problem]:
    """Return a finding about a file."""
    return [Problem(str(path), found, expected, action, kind, severity=severity)]


def check_dimensions(path: Path, shape: Sequence[int]) -> list[Problem]:
    """One volume: three axes, and at most a fourth of length 1."""
    shape = tuple(shape)
    if len(shape) == 4 and shape[3] == 1 and 0 not in shape:
        return one(
            path,
            f"has shape {shape}",
            "three axes",
            "the last axis is dropped",
            "trailing-axis",
            severity="warning",
        )
    if len(shape) != 3 or 0 in shape:
        action = "write each volume of a series into a file of its own"
        if 0 in shape:
            action = "restore it: there is no voxel in it"
        elif len(shape) < 3:
            action = "give a single slice a third axis of length 1"
        return one(path, f"has shape {shape}", "one 3D volume", action, "dimensions")
    return []


def check_affine(path: Path, image: Any) -> list[Problem]:
    """An affine that says where voxels lie, in mm."""
    header = image.header
    codes = [int(header[name]) for name in ("sform_code", "qform_code") if name in header]
    if len(codes) == 2 and not any(codes):
        return one(
            path,
            "has neither sform nor qform, or what its format has instead, so left and right are "
            "unknown",
            "an affine from the scanner",
            "restore the header from the source image",
            "absent-affine",
        )
    affine = np.asarray(image.affine, dtype=np.float64)
    sizes = np.linalg.norm(affine[:3, :3], axis=0)
    finite = bool(np.isfinite(affine).all())
    if not finite or not abs(np.linalg.det(affine[:3, :3])) > 1e-6 * sizes.prod():
        return one(
            path,
            "has an affine that is singular or not finite, so voxel size and left-right are "
            "unknown",
            "three axes with a length",
            "restore the header from the source image",
            "singular-affine",
        )
    low, high = VOXEL_SIZES
    if sizes.min() < low or sizes.max() > high:
        shown = " x ".join(f"{size:.3g}" for size in sizes)
        return one(
            path,
            f"has voxels of {shown} mm",
            f"{low:g} to {high:g} mm along each axis",
            "scale the affine to mm (by 1000 from metres, by 0.001 from micrometres) and set its "
            "unit, image.header.set_xyzt_units('mm')",
            "voxel-size",
        )
    return []


def check_numbers(path: Path, data: np.ndarray, float32: bool) -> list[Problem]:
    """Numbers, all of them finite, and in the range of float32 where that is asked for."""
    if data.dtype.kind not in "fiub":
        return one(path, f"holds {data.dtype} voxels", "numbers", "convert it first", "no-numbers")
    if data.dtype.kind != "f":
        return []
    finite = np.isfinite(data)
    if float32 and data.dtype.itemsize > 4:
        finite &= np.abs(data) <= np.finfo(np.float32).max
    count = data.size - int(np.count_nonzero(finite))
    if count:
        found = f"has {count} voxels that are NaN or infinite"
        return one(path, found, "numbers", "repair or drop it", "not-finite")
    return []


def check_contrast(path: Path, data: np.ndarray) -> list[Problem]:
    """An image, not one value everywhere."""
    low, high = data.min(), data.max()
    if low != high:
        return []
    found = f"is constant ({float(low):g} everywhere)"
    return one(path, found, "an image", "drop it", "constant-image")


def some_of(volume: np.ndarray) -> np.ndarray:
    """Return about `MANY` voxels, evenly spaced along each axis: a view."""
    step = math.ceil((volume.size / MANY) ** (1 / volume.ndim))
    return volume[(slice(None, None, step),) * volume.ndim]


def check_another(
    path: Path, data: np.ndarray, others: Sequence[tuple[Path | None, np.ndarray]]
) -> list[Problem]:
    """An image of its own: not one that is there already as another modality of the scan."""
    for other, voxels in others:
        if np.array_equal(voxels, data):
            found, action = f"shows the same voxels as {other}", "correct the name of one of them"
            return one(path, found, "an image of its own", action, "duplicate-image")
    return []


def check_values_of_image(path: Path, data: np.ndarray) -> list[Problem]:
    """More values than a label map or a mask has: a warning."""
    values = np.unique(some_of(data))
    if len(values) > FEW or data.size < ENOUGH:
        return []
    found = f"holds the values {', '.join(f'{value:g}' for value in values)} alone"
    action = "a label map or mask may have been taken for it; correct the name"
    return one(path, found, "the brightness of an image", action, "few-values", "warning")


def check_outliers(path: Path, data: np.ndarray) -> tuple[np.ndarray, list[Problem]]:
    """No voxel far beyond all others, as maps that were computed have where nothing was measured.

    Mean and deviation, and with them the crop and the contrast, would be those of such a voxel. It
    is brought to one range beyond the `USUAL` percentiles; an image without any stays as it is.
    """
    some = some_of(data)
    low, high = (float(value) for value in np.percentile(some, USUAL))
    span = high - low
    far = int(np.count_nonzero((data > high + FAR * span) | (data < low - FAR * span)))
    if not far or not span:
        return data, []
    found = (
        f"has {far} voxel{'s' * (far > 1)} far beyond all others, from "
        f"{float(data.min()):.3g} to {float(data.max()):.3g}, where nearly all lie from "
        f"{low:.3g} to {high:.3g}"
    )
    action = "they are limited to twice that range; look at the file"
    problems = one(path, found, "brightness", action, "outlying-voxels", "warning")
    return np.clip(data, np.float32(low - span), np.float32(high + span)), problems


def check_grid(
    path: Path,
    shape: Sequence[int],
    affine: np.ndarray,
    reference: Path,
    wanted_shape: Sequence[int],
    wanted_affine: np.ndarray,
) -> list[Problem]:
    """One grid: the same shape, and affines that differ by rounding alone."""
    if tuple(shape) != tuple(wanted_shape):
        return one(
            path,
            f"has shape {tuple(shape)} and {reference} has {tuple(wanted_shape)}",
            "one grid",
            "resample one to the other (labels with nearest neighbour)",
            "grid-shape",
        )
    gap = float(np.abs(affine - wanted_affine).max())
    if gap <= GRID_TOLERANCE:
        return []
    axes, other = ("".join(map(str, aff2axcodes(a))) for a in (affine, wanted_affine))
    return one(
        path,
        f"(axes {axes}) and {reference} (axes {other}) have affines that differ by up to "
        f"{gap:.3g} mm",
        f"at most {GRID_TOLERANCE:g}",
        "resample one to the other",
        "grid-affine",
    )
