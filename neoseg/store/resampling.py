"""Resample images and labels between two grids that cover the same field of view."""

from collections.abc import Sequence
from itertools import product

import numpy as np
from scipy import ndimage

TIE = 1e-6
"""Difference between two distances, in voxels, that counts as rounding."""


def resample(image: np.ndarray, shape: Sequence[int]) -> np.ndarray:
    """Resample an image `[X, Y, Z]` linearly, edges aligned, smoothed where it gets coarser."""
    if tuple(image.shape) == tuple(shape):
        return image
    step = np.array(image.shape) / np.array(shape)
    if (step > 1).any():
        # The kernels of neighbouring samples meet at about half their height.
        image = ndimage.gaussian_filter(image, np.maximum(0, (step - 1) / 2))
    resampled: np.ndarray = ndimage.affine_transform(
        image, step, (step - 1) / 2, output_shape=tuple(shape), order=1, mode="nearest"
    )
    return resampled


def nearest(labels: np.ndarray, shape: Sequence[int]) -> np.ndarray:
    """Resample labels `[X, Y, Z]` by the nearest voxel, edges aligned.

    Where two are equally near, as along each axis that is halved, one and the other are taken
    alternately: always the same would displace all structures by half a voxel. Thin structures and
    volumes are kept, unlike by the largest share.
    """
    if tuple(labels.shape) == tuple(shape):
        return labels
    choices = [_nearest_two(*lengths) for lengths in zip(labels.shape, shape, strict=True)]
    resampled = np.empty(shape, labels.dtype)
    for start in product((0, 1), repeat=3):
        part = tuple(slice(first, None, 2) for first in start)
        turns = [(sum(start) - start[axis] + axis) % 2 for axis in range(3)]
        indices = [choices[axis][turn][part[axis]] for axis, turn in enumerate(turns)]
        resampled[part] = labels[np.ix_(*indices)]
    return resampled


def _nearest_two(length: int, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Return for each of `size` new voxels the nearest of `length` old ones, and the next as near.

    They are equal where one is nearest.
    """
    position = (np.arange(size) + 0.5) * (length / size) - 0.5
    lower, upper = np.ceil(position - 0.5 - TIE), np.floor(position + 0.5 + TIE)
    return (
        lower.clip(0, length - 1).astype(np.intp),
        upper.clip(0, length - 1).astype(np.intp),
    )
