"""The part of an image that counts, its head or its brain, and brightness relative to it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from neoseg.findings.problems import Problem
from neoseg.store.checks import check_grid
from neoseg.store.nifti import DataError
from neoseg.store.volume import Volume, read_volume

LARGEST = 6e4
"""Largest magnitude of a z-score; float16 ends at 65504."""


def head_of(data: np.ndarray) -> np.ndarray:
    """Return where an image is brighter than its mean: its head, or its brain without a skull."""
    bright: np.ndarray = data > data.mean(dtype=np.float64)
    return bright


def read_mask(path: Path | None, image: Volume, reference: Path) -> np.ndarray:
    """Return a brain mask as bool in canonical axes.

    Raises:
        DataError: no mask, one that cannot be read, is empty, or lies on another grid than the
            image of the file `reference`; of the kind "mask".
    """
    action = "repair it, or set store.foreground=head, which needs none"
    if path is None:
        found = "has no brain mask, and the preparation asks for it (store.foreground=mask)"
        problem = Problem(str(reference), found, "one beside the image", action, "mask")
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
    """One grid with the image, and a brain somewhere."""
    native = (mask.native_shape, mask.native_affine)
    found = check_grid(path, *native, reference, shape, affine)
    if not (mask.data > 0).any():
        found.append(Problem(str(path), "is empty (nothing above 0)", "a brain", kind="mask"))
    return found


def crop_box(inside: np.ndarray, affine: np.ndarray, margin: float | None) -> list[tuple[int, int]]:
    """Bounding box of what counts and a margin (mm) around it; everything where nothing does."""
    if margin is None:
        return [(0, length) for length in inside.shape]
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    box = []
    for axis, length in enumerate(inside.shape):
        hit = np.flatnonzero(inside.any(axis=tuple(a for a in range(3) if a != axis)))
        if hit.size == 0:
            box.append((0, length))
            continue
        pad = voxels_of(margin, spacing[axis])
        box.append((max(0, int(hit[0]) - pad), min(length, int(hit[-1]) + 1 + pad)))
    return box


def voxels_of(length: float, spacing: float) -> int:
    """Return how many whole voxels a length (mm) reaches into, whatever the last bits of a size.

    Oblique affines in single precision give sizes such as 1.99999998 mm.
    """
    return math.ceil(round(length / spacing, 3))


def normalise(data: np.ndarray, how: str, inside: np.ndarray, masked: bool) -> np.ndarray:
    """Scale one channel: "zscore" and the upper percentile look at what is `inside`.

    Minimum, maximum and the lower percentile are those of the whole image, or where `masked` of
    the inside; then what lies outside is limited to the range.
    """
    foreground = data[inside]
    seen = foreground if masked else data
    low, high = float(seen.min()), float(seen.max())
    if how == "minmax":
        # No lower limit: an image in small units, such as m²/s, has a range of 1e-9.
        scaled = (data - low) / (high - low if high > low else 1e-6)
        return np.clip(scaled, 0.0, 1.0) if masked else scaled
    if how == "percentile":
        bottom, top = float(np.percentile(seen, 0.5)), float(np.percentile(foreground, 99.5))
        span = top - bottom if top > bottom else 1e-6
        return np.clip((data - bottom) / span, 0.0, 1.0).astype(np.float32)
    mean, std = float(foreground.mean(dtype=np.float64)), float(foreground.std(dtype=np.float64))
    if std < 1e-6 * (high - low) or std == 0:  # as in a mask: all of the head has one value
        std = float(data.std(dtype=np.float64))
    # A store in float16 must not turn an outlier into infinity.
    scores: np.ndarray = np.clip((data - np.float32(mean)) / np.float32(std), -LARGEST, LARGEST)
    return scores
