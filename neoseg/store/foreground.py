"""Foreground of an image (head or brain), and intensity normalisation relative to it."""

import math
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from nibabel.affines import voxel_sizes

from neoseg.findings.problems import Problem
from neoseg.store.brightness import without_padding
from neoseg.store.checks import check_grid
from neoseg.store.damage import DataError
from neoseg.store.volume import Volume, read_volume

_BIDS = re.compile(
    r"(sub-[0-9A-Za-z]+(?:_(?!desc-)[0-9A-Za-z]+-[0-9A-Za-z+]+)*)(_desc-\w+?)?_\w+\."
)
"""Name of an image in a BIDS data set."""

MAX_Z = 6e4
"""Largest magnitude of a z-score; the float16 maximum is 65504."""


def head_of(data: np.ndarray) -> np.ndarray:
    """Return a mask of voxels above the mean: the head, or the brain if skull-stripped.

    Constant borders are ignored, so that the result does not depend on how far an image is padded.
    """
    bright: np.ndarray = data > without_padding(data).mean(dtype=np.float64)
    if not bright.any():  # within the borders it is constant
        bright = data > data.mean(dtype=np.float64)
    return bright


def read_mask(path: Path | None, image: Volume, reference: Path) -> np.ndarray:
    """Read a brain mask as bool in canonical axes.

    Raises:
        DataError: the mask is missing, unreadable, empty, or on another grid than the image of the
            file `reference`; of kind "mask".
    """
    action = "repair it (cut a probability map off at 0.5), or set store.foreground=head"
    if path is None:
        found = "has no brain mask, and the preparation asks for it (store.foreground=mask)"
        needed = "put it there; only networks trained with store.foreground=head need none"
        expected = "one beside the image"
        if match := _BIDS.match(reference.name):
            expected += f", {match[1]}_desc-brain_mask.nii.gz"
        problem = Problem(str(reference), found, expected, needed, "mask")
        raise DataError.of([problem])
    try:
        mask = read_volume(path, dtype=np.int64)
        problems = check_mask(path, mask, reference, image.native_shape, image.native_affine)
    except DataError as error:
        problems = list(error.problems)
    if problems:
        raise DataError.of(Problem(p.where, p.found, p.expected, action, "mask") for p in problems)
    return mask.data > 0


def check_mask(
    path: Path, mask: Volume, reference: Path, shape: Sequence[int], affine: np.ndarray
) -> list[Problem]:
    """Check that a mask shares the grid of the image and is not empty."""
    native = (mask.native_shape, mask.native_affine)
    problems = check_grid(path, *native, reference, shape, affine)
    if (mask.data != np.rint(mask.data)).any():
        found = f"has fractions ({mask.data.min():g} to {mask.data.max():g})"
        problems.append(Problem(str(path), found, "a mask of whole numbers", kind="mask"))
    if not (mask.data > 0).any():
        problems.append(Problem(str(path), "is empty (nothing above 0)", "a brain", kind="mask"))
    return problems


def crop_box(inside: np.ndarray, affine: np.ndarray, margin: float | None) -> list[tuple[int, int]]:
    """Return the bounding box of `inside` with a margin in mm; axes in full if it is empty."""
    if margin is None:
        return [(0, length) for length in inside.shape]
    spacing = voxel_sizes(affine)
    box = []
    for axis, length in enumerate(inside.shape):
        occupied = np.flatnonzero(inside.any(axis=tuple(a for a in range(3) if a != axis)))
        if occupied.size == 0:
            box.append((0, length))
            continue
        pad = voxels_of(margin, spacing[axis])
        box.append((max(0, int(occupied[0]) - pad), min(length, int(occupied[-1]) + 1 + pad)))
    return box


def voxels_of(length: float, spacing: float) -> int:
    """Return a length (mm) in voxels, rounded up, robust to rounding errors of the voxel size.

    Oblique affines in single precision give sizes such as 1.99999998 mm.
    """
    return math.ceil(round(length / spacing, 3))


def normalise(data: np.ndarray, how: str, inside: np.ndarray, masked: bool) -> np.ndarray:
    """Normalise one channel; "zscore" and the upper percentile use the voxels `inside` only.

    Minimum, maximum and the lower percentile (without constant borders) are taken over the whole
    image, or over `inside` if `masked`; in that case voxels outside are clipped to the range.
    """
    foreground = data[inside]
    reference = foreground if masked else data
    low, high = float(reference.min()), float(reference.max())
    if how == "minmax":
        # No lower bound on the range: in small units, such as m²/s, it can be 1e-9.
        scaled = (data - low) / (high - low if high > low else 1e-6)
        return np.clip(scaled, 0.0, 1.0) if masked else scaled
    if how == "percentile":
        content = foreground if masked else without_padding(data)
        bottom, top = float(np.percentile(content, 0.5)), float(np.percentile(foreground, 99.5))
        span = top - bottom if top > bottom else 1e-6
        return np.clip((data - bottom) / span, 0.0, 1.0).astype(np.float32)
    mean, std = float(foreground.mean(dtype=np.float64)), float(foreground.std(dtype=np.float64))
    if std < 1e-6 * (high - low) or std == 0:  # a mask, for example: constant inside the head
        std = float(data.std(dtype=np.float64))
    # Outliers must not become infinite in a float16 store.
    scores: np.ndarray = np.clip((data - np.float32(mean)) / np.float32(std), -MAX_Z, MAX_Z)
    return scores


def in_window(data: np.ndarray, window: tuple[float, float]) -> np.ndarray:
    """Limit intensities to a window in their own units."""
    limited: np.ndarray = np.clip(data, np.float32(window[0]), np.float32(window[1]))
    return limited


def in_units(data: np.ndarray, window: tuple[float, float]) -> np.ndarray:
    """Scale intensities within a window to 0..1, the same in all scans."""
    low, high = map(np.float32, window)
    scaled: np.ndarray = (data - low) / (high - low)
    return scaled
