"""Checks of the brightness of an image, and what is done about values far beyond the others."""

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from neoseg.findings.problems import Problem
from neoseg.store.checks import one

MAX_LABEL_VALUES, MIN_VOXELS = 16, 4096
"""An image of at least `MIN_VOXELS` voxels with at most `MAX_LABEL_VALUES` distinct values may be a
label map: even an 8-bit image has about a hundred values.
"""

USUAL, FAR, SAMPLE_SIZE = (0.1, 99.9), 20.0, 1 << 20
"""Settings of the outlier check: percentiles of the usual values; distance from them, in multiples
of their range, beyond which a voxel is an outlier (the brightest vessels reach two or three);
approximate number of voxels that are sampled."""


FAR_BORDER = 0.5
"""Distance of a border from the range of what is within, in multiples of its usual range."""


def check_contrast(path: Path, data: np.ndarray) -> list[Problem]:
    """Check that an image is not constant."""
    low, high = data.min(), data.max()
    if low != high:
        return []
    found = f"is constant ({float(low):g} everywhere)"
    return one(path, found, "an image", "drop it", "constant-image")


def check_window(path: Path, data: np.ndarray, window: tuple[float, float]) -> list[Problem]:
    """Check that some of an image lies within the window of its preparation."""
    low, high = float(data.min()), float(data.max())
    if low < window[1] and high > window[0]:
        return []
    found = f"lies from {low:g} to {high:g}, all outside of store.window={list(window)}"
    action = "bring all scans to one unit (CT: Hounsfield units), or choose another window"
    return one(path, found, "intensities within it", action, "constant-image")


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


def without_padding(data: np.ndarray) -> np.ndarray:
    """Return a volume without the constant planes at each of its six faces."""
    box = []
    for axis in range(3):
        others = tuple(other for other in range(3) if other != axis)
        low, high = data.min(axis=others), data.max(axis=others)
        first, last = ((low == high) & (low == low[end]) for end in (0, -1))
        if (first | last).all():  # constant, or nothing but two borders
            return data
        box.append(slice(int(first.argmin()), len(low) - int(last[::-1].argmin())))
    inside: np.ndarray = data[tuple(box)]
    return inside


def check_padding(path: Path, data: np.ndarray) -> tuple[np.ndarray, list[Problem]]:
    """Bring constant planes at the faces that lie far from the image to its range, and warn.

    Scanners and viewers pad with values such as -3000 or -32768, which the network would see as
    extremely dark. Other images are returned unchanged; so is a border such as 0 around an image
    whose background is near 0.
    """
    inside = without_padding(data)
    low, high = float(inside.min()), float(inside.max())
    bottom, top = (float(value) for value in np.percentile(sampled(inside), USUAL))
    borders = {float(data.min()), float(data.max())} - {low, high}
    reach = FAR_BORDER * (top - bottom)
    far = [value for value in sorted(borders) if max(low - value, value - high) > reach > 0]
    if not far:
        return data, []
    found = (
        f"has a border of {' and '.join(f'{value:g}' for value in far)}, and what is within lies "
        f"from {low:g} to {high:g}"
    )
    action = "the border is brought to that range; look at the file"
    problems = one(path, found, "a border like the background", action, "far-border", "warning")
    return np.clip(data, np.float32(low), np.float32(high)), problems


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


def usual_brightness(path: Path, data: np.ndarray) -> tuple[np.ndarray, list[Problem]]:
    """Return an image with border and outliers limited, and all warnings about its values."""
    limited, border = check_padding(path, data)
    limited, outliers = check_outliers(path, limited)
    return limited, border + outliers + check_values_of_image(path, data)
