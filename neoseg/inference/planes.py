"""The three planes through the middle of what is labelled, as pictures show them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from neoseg.labels import UNKNOWN, Codebook

PLANES = (("sagittal", ("P", "A")), ("coronal", ("L", "R")), ("axial", ("L", "R")))
"""Name of the plane across each canonical axis, and what lies at its left and right edge."""


@dataclass(frozen=True)
class Plane:
    """One slice of a scan with square pixels; arrays are uint8 `[rows, columns]`, the top first.

    Attributes:
        name: "sagittal", "coronal" or "axial".
        image: grey values.
        prediction, truth: rows of the codebook.
    """

    name: str
    image: np.ndarray
    prediction: np.ndarray
    truth: np.ndarray


def middle_planes(
    image: np.ndarray,
    prediction: np.ndarray,
    truth_codes: np.ndarray,
    codebook: Codebook,
    spacing: Sequence[float],
) -> tuple[Plane, ...]:
    """Return the planes through the centre of mass of what the truth labels, in one size.

    Where they lie depends on the truth alone, so that the pictures of a scan fit together however
    the prediction changes.

    Args:
        image: `[X, Y, Z]` in canonical (RAS+) axes, any units.
        prediction: uint8 leaf positions, same shape.
        truth_codes: uint8 rows of `codebook`, same shape.
        codebook: of the codes.
        spacing: voxel size in mm; flat voxels are repeated until the pixels are square.

    Raises:
        ValueError: where the shapes differ.
    """
    if not image.shape == prediction.shape == truth_codes.shape:
        raise ValueError(
            f"image {image.shape}, prediction {prediction.shape} and truth {truth_codes.shape} "
            "must be volumes of one shape"
        )
    centre = centre_of(truth_codes, codebook.space.background + 1)
    cuts = [cut(image, axis, centre).astype(np.float32) for axis in range(3)]
    low, high = np.percentile(np.concatenate([part.ravel() for part in cuts]), (0.5, 99.5))
    background = codebook.space.background + 1
    layers = []
    for axis in range(3):
        grey = np.clip((cuts[axis] - low) / max(high - low, 1e-6), 0, 1) * 255
        # A predicted leaf is shown as the code of that leaf alone.
        leaves = cut(prediction, axis, centre).astype(np.int64) + 1
        slices = (np.round(grey), leaves, cut(truth_codes, axis, centre))
        layers.append([square(layer, axis, spacing).astype(np.uint8) for layer in slices])
    shape = np.max([layer[0].shape for layer in layers], axis=0)
    outside = (0, background, background)
    return tuple(
        Plane(name, *(padded(o, shape, fill) for o, fill in zip(three, outside, strict=True)))
        for (name, _), three in zip(PLANES, layers, strict=True)
    )


def centre_of(codes: np.ndarray, background: int) -> tuple[int, int, int]:
    """Return the centre of mass of what is neither background nor unknown, else the middle."""
    labelled = (codes != background) & (codes != UNKNOWN)
    centre = []
    for axis, length in enumerate(codes.shape):
        others = tuple(other for other in range(3) if other != axis)
        profile = labelled.sum(axis=others)
        total = profile.sum()
        middle = (profile * np.arange(length)).sum() / total if total else (length - 1) / 2
        centre.append(round(float(middle)))
    return centre[0], centre[1], centre[2]


def cut(volume: np.ndarray, axis: int, centre: tuple[int, int, int]) -> np.ndarray:
    """Return the slice across `axis` as rows from bottom to top."""
    return np.take(volume, centre[axis], axis=axis).T


def square(layer: np.ndarray, axis: int, spacing: Sequence[float]) -> np.ndarray:
    """Repeat pixels along the coarser side, and put the top row first."""
    across, up = (spacing[other] for other in range(3) if other != axis)
    size = min(across, up)
    rows, columns = (
        np.minimum((np.arange(round(n * mm / size)) + 0.5) * size / mm, n - 1).astype(np.int64)
        for n, mm in zip(layer.shape, (up, across), strict=True)
    )
    return np.ascontiguousarray(layer[rows][:, columns][::-1])


def padded(layer: np.ndarray, shape: Sequence[int], value: int) -> np.ndarray:
    """Put a picture into the middle of a larger one."""
    gaps = [whole - n for whole, n in zip(shape, layer.shape, strict=True)]
    return np.pad(layer, [(gap // 2, gap - gap // 2) for gap in gaps], constant_values=value)
