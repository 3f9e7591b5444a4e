"""The three planes through the centre of the labelled structures, as pictures."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import ndimage

from neoseg.labels import UNKNOWN, Codebook
from neoseg.store.foreground import crop_box

PLANES = (("sagittal", ("P", "A")), ("coronal", ("L", "R")), ("axial", ("L", "R")))
"""Name of the plane across each canonical axis, and directions at its left and right edge."""

_MARGIN_MM = 8.0
UNKNOWN_COLOUR = "#9e9e9e"


@dataclass(frozen=True)
class Plane:
    """One slice of a scan with square pixels; arrays are uint8 `[rows, columns]`, top row first.

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
    window: tuple[float, float] | None = None,
) -> tuple[Plane, ...]:
    """Return the planes through the centre of mass of the labelled truth, padded to one size.

    Their positions depend on the truth only, so that pictures of a scan match however the
    prediction changes.

    Args:
        image: `[X, Y, Z]` in canonical (RAS+) axes, any units.
        prediction: uint8 leaf positions, same shape.
        truth_codes: uint8 rows of `codebook`, same shape.
        codebook: defines the codes.
        spacing: voxel size in mm; pixels are repeated until they are square.
        window: intensities shown as black and white; None: 0.5 and 99.5 % of those of the planes.

    Raises:
        ValueError: the shapes differ.
    """
    if not image.shape == prediction.shape == truth_codes.shape:
        raise ValueError(
            f"image {image.shape}, prediction {prediction.shape} and truth {truth_codes.shape} "
            "must be volumes of one shape"
        )
    centre = centre_of(truth_codes, codebook.space.background + 1)
    cuts = [cut(image, axis, centre[axis]).astype(np.float32) for axis in range(3)]
    window = window or grey_window(np.concatenate([part.ravel() for part in cuts]))
    background = codebook.space.background + 1
    layers = []
    for axis in range(3):
        grey = grey_in(cuts[axis], window) * 255
        # A predicted leaf is shown as the code of that leaf alone, which is its position + 1.
        leaves = cut(prediction, axis, centre[axis]).astype(np.int64) + 1
        slices = (np.round(grey), leaves, cut(truth_codes, axis, centre[axis]))
        layers.append([square(layer, axis, spacing).astype(np.uint8) for layer in slices])
    shape = np.max([layer[0].shape for layer in layers], axis=0)
    outside = (0, background, background)
    return tuple(
        Plane(name, *(padded(o, shape, fill) for o, fill in zip(pictures, outside, strict=True)))
        for (name, _), pictures in zip(PLANES, layers, strict=True)
    )


def grey_window(image: np.ndarray) -> tuple[Any, Any]:
    """Return the lower and upper intensity between which an image without a window is shown."""
    low, high = np.percentile(image, (0.5, 99.5))
    return low, high


def grey_in(image: np.ndarray, window: tuple[Any, Any]) -> np.ndarray:
    """Scale intensities in a window to 0 to 1, clipping values outside."""
    low, high = window
    grey: np.ndarray = np.clip((image - low) / max(high - low, 1e-6), 0, 1)
    return grey


def labelled_in(codes: np.ndarray, background: int) -> np.ndarray:
    """Return a mask of the voxels that are neither background nor unknown."""
    labelled: np.ndarray = (codes != background) & (codes != UNKNOWN)
    return labelled


def centre_of(codes: np.ndarray, background: int) -> tuple[int, int, int]:
    """Return the centre of mass of labelled voxels, or the middle of the volume without any."""
    labelled = labelled_in(codes, background)
    middle = [(length - 1) / 2 for length in codes.shape]
    centre = ndimage.center_of_mass(labelled) if labelled.any() else middle
    x, y, z = (round(float(value)) for value in centre)
    return x, y, z


def box_of(labelled: np.ndarray, spacing: Sequence[float]) -> tuple[slice, ...]:
    """Return the bounding box of a mask with a margin of 8 mm; everything if it is empty."""
    affine = np.diag([*spacing, 1.0])
    return tuple(slice(*ends) for ends in crop_box(labelled, affine, _MARGIN_MM))


def colours_of(codebook: Codebook) -> list[str]:
    """Return the colour of each code, "#rrggbb"; sets that are no class of the table are grey."""
    colours = {entry.leaves: entry.color for entry in codebook.space.classes}
    by_code = [colours.get(leaves, UNKNOWN_COLOUR) for leaves in codebook.sets]
    by_code[UNKNOWN] = UNKNOWN_COLOUR
    return by_code


def cut(volume: np.ndarray, axis: int, position: int) -> np.ndarray:
    """Return the slice across `axis` as a picture, with rows from top to bottom."""
    layer: np.ndarray = np.take(volume, position, axis=axis).T[::-1]
    return layer


def square(layer: np.ndarray, axis: int, spacing: Sequence[float]) -> np.ndarray:
    """Repeat pixels of a slice along its coarser axis, so that they become square."""
    across, up = (spacing[other] for other in range(3) if other != axis)
    size = min(across, up)
    rows, columns = (
        np.minimum((np.arange(round(n * mm / size)) + 0.5) * size / mm, n - 1).astype(np.int64)
        for n, mm in zip(layer.shape, (up, across), strict=True)
    )
    return np.ascontiguousarray(layer[::-1][rows][:, columns][::-1])


def padded(layer: np.ndarray, shape: Sequence[int], value: int) -> np.ndarray:
    """Pad a picture to a larger shape, centred."""
    gaps = [whole - n for whole, n in zip(shape, layer.shape, strict=True)]
    return np.pad(layer, [(gap // 2, gap - gap // 2) for gap in gaps], constant_values=value)
