"""Checks of the voxels and the grid of a file, one small function each."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from nibabel.affines import voxel_sizes
from nibabel.orientations import aff2axcodes, inv_ornt_aff, io_orientation

from neoseg.cohort.formats import SEGMENTATION
from neoseg.findings.problems import Problem

GRID_TOLERANCE = 1e-3
"""Largest difference between two affines (mm) that still counts as rounding."""

MAX_LABEL_VALUES, MIN_VOXELS = 16, 4096
"""An image of at least `MIN_VOXELS` voxels with at most `MAX_LABEL_VALUES` distinct values may be a
label map: even an 8-bit image has about a hundred values.
"""

USUAL, FAR, SAMPLE_SIZE = (0.1, 99.9), 20.0, 1 << 20
"""Settings of the outlier check: percentiles of the usual values; distance from them, in multiples
of their range, beyond which a voxel is an outlier (the brightest vessels reach two or three);
approximate number of voxels that are sampled."""

VOXEL_SIZES = (0.05, 20.0)
"""Plausible range in mm; sizes outside it come from a header in other units."""


def one(
    path: Path,
    found: str,
    expected: str,
    action: str,
    kind: str,
    severity: Literal["error", "warning"] = "error",
) -> list[Problem]:
    """Return a list with a single finding about a file."""
    return [Problem(str(path), found, expected, action, kind, severity=severity)]


def check_dimensions(path: Path, shape: Sequence[int], is_label: bool = False) -> list[Problem]:
    """Check that a file holds one volume: three axes, and at most a fourth of length 1."""
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
        if path.name.lower().endswith(SEGMENTATION):
            action = (
                "its segments lie in several layers; in 3D Slicer, export the segmentation as one "
                "label map"
            )
        elif is_label:
            action = "write one label map: the largest of the values along the last axis (argmax)"
        if 0 in shape:
            action = "restore it: there is no voxel in it"
        elif len(shape) < 3:
            action = "give a single slice a third axis of length 1"
        return one(path, f"has shape {shape}", "one 3D volume", action, "dimensions")
    return []


def check_affine(path: Path, image: Any) -> list[Problem]:
    """Check that the affine is present, invertible and has plausible voxel sizes in mm."""
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
    sizes = voxel_sizes(affine)
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
        written = " x ".join(f"{size:.3g}" for size in sizes)
        return one(
            path,
            f"has voxels of {written} mm",
            f"{low:g} to {high:g} mm along each axis",
            "scale the affine to mm (by 1000 from metres, by 0.001 from micrometres) and set its "
            "unit, image.header.set_xyzt_units('mm')",
            "voxel-size",
        )
    return []


def check_numbers(path: Path, data: np.ndarray, float32: bool) -> list[Problem]:
    """Check that all voxels are finite numbers, and within float32 range if `float32` is set."""
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
        action = "put 0 in their place (such as by fslmaths IN -nan OUT), or drop it"
        return one(path, found, "numbers", action, "not-finite")
    return []


def check_contrast(path: Path, data: np.ndarray) -> list[Problem]:
    """Check that an image is not constant."""
    low, high = data.min(), data.max()
    if low != high:
        return []
    found = f"is constant ({float(low):g} everywhere)"
    return one(path, found, "an image", "drop it", "constant-image")


def sampled(volume: np.ndarray) -> np.ndarray:
    """Return a view of about `SAMPLE_SIZE` voxels, evenly spaced along each axis."""
    step = math.ceil((volume.size / SAMPLE_SIZE) ** (1 / volume.ndim))
    return volume[(slice(None, None, step),) * volume.ndim]


def check_another(
    path: Path, data: np.ndarray, others: Sequence[tuple[Path | None, np.ndarray]]
) -> list[Problem]:
    """Check that an image is not a duplicate of another modality of the same scan."""
    for other, voxels in others:
        if np.array_equal(voxels, data):
            found, action = f"shows the same voxels as {other}", "correct the name of one of them"
            return one(path, found, "an image of its own", action, "duplicate-image")
    return []


def check_values_of_image(path: Path, data: np.ndarray) -> list[Problem]:
    """Warn if an image has so few distinct values that it may be a label map or a mask."""
    values = np.unique(sampled(data))
    if len(values) > MAX_LABEL_VALUES or data.size < MIN_VOXELS:
        return []
    found = f"holds the values {', '.join(f'{value:g}' for value in values)} alone"
    action = "a label map or mask may have been taken for it; correct the name"
    return one(path, found, "the brightness of an image", action, "few-values", "warning")


def check_outliers(path: Path, data: np.ndarray) -> tuple[np.ndarray, list[Problem]]:
    """Clip extreme outliers, which computed maps have in voxels without a measurement, and warn.

    Such voxels would dominate mean and standard deviation, and with them crop and contrast. They
    are clipped to one range beyond the `USUAL` percentiles; other images are returned unchanged.
    """
    sample = sampled(data)
    low, high = (float(value) for value in np.percentile(sample, USUAL))
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
    """Check that two files share a grid, in whatever order they store it, up to rounding."""
    shape, own = _canonical(shape, affine)
    wanted_shape, wanted = _canonical(wanted_shape, wanted_affine)
    if shape != wanted_shape:
        return one(
            path,
            f"has shape {shape} and {reference} has {wanted_shape}",
            "one grid",
            "resample one to the other (labels with nearest neighbour)",
            "grid-shape",
        )
    gap = float(np.abs(own - wanted).max())
    if gap <= GRID_TOLERANCE:
        return []
    axes, reference_axes = ("".join(map(str, aff2axcodes(a))) for a in (affine, wanted_affine))
    return one(
        path,
        f"(axes {axes}) and {reference} (axes {reference_axes}) have affines that differ by up to "
        f"{gap:.3g} mm",
        f"at most {GRID_TOLERANCE:g}",
        "look at both: if they fit voxel by voxel, one header is wrong, and the other's belongs in "
        "its place (fslcpgeom RIGHT WRONG -d); else resample one to the other",
        "grid-affine",
    )


def _canonical(shape: Sequence[int], affine: np.ndarray) -> tuple[tuple[int, ...], np.ndarray]:
    """Return shape and affine of a grid after its axes are reordered and flipped to RAS+."""
    orientation = io_orientation(affine)
    reordered = np.empty(3, int)
    reordered[orientation[:, 0].astype(int)] = shape
    canonical: np.ndarray = affine @ inv_ornt_aff(orientation, tuple(shape))
    return tuple(int(length) for length in reordered), canonical
