"""Simulate the scanner: point spread, coil shading, motion and noise."""

from collections.abc import Sequence
from itertools import product

import numpy as np
from numpy.typing import NDArray
from scipy import fft, ndimage

from neoseg.cohort.phantom.deformation import SmoothField
from neoseg.cohort.phantom.shapes import Floats


def average_blocks(image: Floats, factor: int) -> Floats:
    """Downsample the last three axes by averaging blocks of `factor`³ voxels (partial volume)."""
    total = np.zeros((*image.shape[:-3], *(n // factor for n in image.shape[-3:])), np.float32)
    for corner in product(range(factor), repeat=3):
        i, j, k = corner
        total += image[..., i::factor, j::factor, k::factor]
    return total / np.float32(factor**3)


def majority(labels: NDArray[np.uint8], factor: int) -> NDArray[np.uint8]:
    """Return the most frequent label in each block of `factor`³ voxels; ties go to the lowest."""
    if factor == 1:
        return labels
    a, b, c = (n // factor for n in labels.shape)
    cubes = labels.reshape(a, factor, b, factor, c, factor).transpose(0, 2, 4, 1, 3, 5)
    cubes = cubes.reshape(-1, factor**3)
    result = cubes[:, 0].copy()
    mixed = np.flatnonzero((cubes != cubes[:, :1]).any(axis=1))
    values = np.sort(cubes[mixed], axis=1)
    winners = values[:, 0].copy()
    counts = np.ones(len(mixed), np.int16)
    run = counts.copy()
    for column in range(1, values.shape[1]):
        run = np.where(values[:, column] == values[:, column - 1], run + 1, 1)
        longer = run > counts
        winners[longer] = values[longer, column]
        counts = np.maximum(counts, run)
    result[mixed] = winners
    return result.reshape(a, b, c)


def shading(rng: np.random.Generator, axes: Sequence[Floats], bias: float) -> Floats:
    """Draw a smooth positive field `[X, Y, Z]` whose logarithm varies by about `bias`."""
    # The coefficients average out over the head, so their spread is larger than the field's.
    field = SmoothField.draw(rng, 70.0, 0.8, 1).on_grid(axes)[0]
    slopes = rng.normal(0, 0.012, 3)
    for axis, (values, steepness) in enumerate(zip(axes, slopes, strict=True)):
        shape = [1, 1, 1]
        shape[axis] = -1
        field = field + (values * steepness).astype(np.float32).reshape(shape)
    shading_field: Floats = np.exp(bias * field)
    return shading_field


def move(rng: np.random.Generator, image: Floats, spacing: float, distance: float) -> Floats:
    """Corrupt `image` as if the head jumped a few times while k-space was filled line by line.

    `distance` is the standard deviation of a jump in mm. Some segments of outer k-space lines are
    acquired with the head displaced, which gives ghosts and blurred edges.
    """
    axis = int(rng.integers(0, 2))
    lines = image.shape[axis]
    spectrum = fft.fft(image, axis=axis)
    frequency = fft.fftfreq(lines).astype(np.float32)
    order = np.argsort(fft.fftshift(np.arange(lines)))
    shift = np.zeros(lines, np.float32)
    for _ in range(int(rng.integers(2, 6))):
        start = int(rng.integers(0, lines))
        length = int(rng.integers(lines // 25 + 1, lines // 8 + 2))
        segment = order[start : start + length]
        shift[segment] += rng.normal(0, distance) / spacing
    # Navigators and the reconstruction keep the centre of k-space consistent.
    shift[np.abs(frequency) < 0.03] = 0
    phase = np.exp(-2j * np.pi * frequency * shift).astype(np.complex64)
    shape = [1, 1, 1]
    shape[axis] = lines
    moved: Floats = np.abs(fft.ifft(spectrum * phase.reshape(shape), axis=axis)).astype(np.float32)
    return moved


def acquire(
    rng: np.random.Generator,
    image: Floats,
    axes: Sequence[Floats],
    spacing: float,
    *,
    noise: float,
    bias: float,
    motion: float,
    blur: float,
) -> tuple[Floats, Floats]:
    """Return the acquired image, and the same image with the shading divided out.

    `image` `[X, Y, Z]` is noise-free. `noise` is the standard deviation relative to cerebrospinal
    fluid, `bias` that of the shading's logarithm, `motion` that of a jump in mm (0: no motion),
    `blur` that of the point spread in voxels.
    """
    image = ndimage.gaussian_filter(image, blur, mode="nearest")
    field = shading(rng, axes, bias)
    shaded: Floats = image * field
    if motion > 0:
        shaded = move(rng, shaded, spacing, motion)
    # The magnitude of a complex signal has Rician noise.
    real = shaded + rng.normal(0, noise, image.shape).astype(np.float32)
    imaginary = rng.normal(0, noise, image.shape).astype(np.float32)
    raw = np.hypot(real, imaginary)
    return raw, raw / field
