"""Cutting one output patch out of a stored scan, warped once.

Affine and elastic displacement are composed into one map from output voxels to scan voxels; only
the block of the scan that the map reaches is read, the image is interpolated linearly and the codes
by nearest neighbour, so codes are never mixed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, Field
from torch.nn import functional as F

from neoseg.data.store import StoreEntry
from neoseg.labels import UNKNOWN

Triple = tuple[int, int, int]


class SpatialSettings(BaseModel):
    """Ranges of the random geometry; zero switches a part off."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    rotation: float = Field(default=15.0, ge=0, le=180, description="degrees, each axis, +-")
    scaling: float = Field(default=0.15, ge=0, lt=1, description="isotropic factor 1 +- this")
    stretching: float = Field(default=0.05, ge=0, lt=1, description="per axis on top of it")
    elastic: float = Field(default=2.0, ge=0, description="mm, std of control points")
    elastic_grid: float = Field(default=16.0, gt=0, description="mm between control points")
    flip: float = Field(default=0.5, ge=0, le=1, description="probability of left-right mirroring")
    probability: float = Field(default=0.8, ge=0, le=1, description="of affine and elastic")


@dataclass(frozen=True)
class Geometry3D:
    """One draw: `matrix` [3, 3] from output offsets to scan offsets (voxels), control-point
    displacements `[3, a, b, c]` in scan voxels or None, and whether left and right are swapped.
    """

    matrix: np.ndarray
    elastic: np.ndarray | None
    flipped: bool

    @property
    def is_identity(self) -> bool:
        """Whether the patch can be cut without interpolation."""
        return self.elastic is None and np.array_equal(np.abs(self.matrix), np.eye(3))


def draw_geometry(
    settings: SpatialSettings | None,
    rng: np.random.Generator,
    size: Triple,
    spacing: Sequence[float],
) -> Geometry3D:
    """Draw a geometry for one patch; None gives the identity.

    A patch that is one voxel thin (a slice) is rotated and bent within its plane only.
    """
    if settings is None:
        return Geometry3D(np.eye(3), None, False)
    flipped = bool(rng.random() < settings.flip)
    mirror = np.diag([-1.0 if flipped else 1.0, 1.0, 1.0])
    warped = rng.random() < settings.probability
    angles = np.deg2rad(rng.uniform(-1, 1, 3) * settings.rotation)
    scale = 1 + rng.uniform(-1, 1) * settings.scaling
    stretch = scale * (1 + rng.uniform(-1, 1, 3) * settings.stretching)
    extent = np.array(size) * np.array(spacing)
    grid = [int(np.ceil(mm / settings.elastic_grid)) + 3 for mm in extent]
    displacement = rng.normal(0, settings.elastic, (3, *grid)).astype(np.float32)
    if not warped:
        return Geometry3D(mirror, None, flipped)

    thin = [axis for axis in range(3) if size[axis] == 1]
    for axis in thin:
        angles[[other for other in range(3) if other != axis]] = 0
        displacement[axis] = 0
    voxel = np.asarray(spacing, dtype=np.float64)
    rotation = _rotation(angles)
    # Rotate in millimetres, so that anisotropic voxels do not shear.
    matrix = np.diag(1 / voxel) @ rotation @ np.diag(stretch * voxel) @ mirror
    bent = settings.elastic > 0
    elastic = displacement / voxel[:, None, None, None].astype(np.float32) if bent else None
    return Geometry3D(matrix, elastic, flipped)


def cut_patch(
    entry: StoreEntry,
    centre: Sequence[int],
    size: Triple,
    geometry: Geometry3D,
    lookup: np.ndarray,
    annotated_slices: np.ndarray | None = None,
    slice_axis: int = 0,
) -> tuple[np.ndarray, np.ndarray]:
    """Return image float32 `[M, *size]` and codes uint8 `[*size]` around a voxel of the scan.

    `lookup` (uint8 `[256]`) turns native codes into rows of the codebook. Voxels outside the scan
    repeat its border in the image and are unknown in the codes. `annotated_slices` (bool, along
    `slice_axis`) marks where the annotation exists.
    """
    positions = _positions(centre, size, geometry)
    shape = np.array(entry.shape)
    low = np.clip(np.floor([axis.min() for axis in positions]).astype(int), 0, shape - 1)
    high = np.clip(np.ceil([axis.max() for axis in positions]).astype(int) + 1, low + 1, shape)
    block = tuple(slice(int(a), int(b)) for a, b in zip(low, high, strict=True))
    image = np.asarray(entry.image[(slice(None), *block)], dtype=np.float32)
    nearest = [np.rint(axis).astype(np.int64) for axis in positions]
    inside = np.ones(size, dtype=bool)
    for axis in range(3):
        inside &= (nearest[axis] >= 0) & (nearest[axis] < shape[axis])
    local = [np.clip(n - a, 0, b - a - 1) for n, a, b in zip(nearest, low, high, strict=True)]
    if geometry.is_identity:
        patch = image[:, local[0], local[1], local[2]]
    else:
        patch = _interpolate(image, [p - a for p, a in zip(positions, low, strict=True)])

    codes = np.full(size, UNKNOWN, dtype=np.uint8)
    if entry.annotated:
        native = np.asarray(entry.codes[block])
        codes = lookup[native[local[0], local[1], local[2]]]
        if annotated_slices is not None:
            inside &= annotated_slices[np.clip(nearest[slice_axis], 0, shape[slice_axis] - 1)]
        codes = np.where(inside, codes, np.uint8(UNKNOWN))
    return patch, codes


def _positions(centre: Sequence[int], size: Triple, geometry: Geometry3D) -> list[np.ndarray]:
    """Scan coordinates (voxels, float32) of every output voxel, one array `[*size]` per axis.

    The map turns about the middle of the patch, which lies between two voxels where the size is
    even; so a flip shows the very voxels that the patch shows without it.
    """
    offsets = [
        (np.arange(n, dtype=np.float32) - np.float32((n - 1) / 2)).reshape(
            [-1 if a == axis else 1 for a in range(3)]
        )
        for axis, n in enumerate(size)
    ]
    middle = [c - n // 2 + (n - 1) / 2 for c, n in zip(centre, size, strict=True)]
    bend = _upsample(geometry.elastic, size) if geometry.elastic is not None else None
    result = []
    for axis in range(3):
        row = geometry.matrix[axis].astype(np.float32)
        # Summed term by term: a matrix product may round differently with the number of threads.
        position = np.float32(middle[axis]) + (row[0] * offsets[0] + row[1] * offsets[1])
        position = position + row[2] * offsets[2]
        if bend is not None:
            position = position + bend[axis]
        result.append(np.broadcast_to(position, size))
    return result


def _upsample(control: np.ndarray, size: Triple) -> np.ndarray:
    """Smooth displacement `[3, *size]` from control points `[3, a, b, c]` (a quadratic spline).

    A box average of the control points before linear interpolation softens its kinks.
    """
    smooth = F.avg_pool3d(torch.from_numpy(control)[None], 2, stride=1)
    dense = F.interpolate(smooth, size=size, mode="trilinear", align_corners=True)
    # Averaging 8 independent points divides the deviation by sqrt(8).
    return dense[0].numpy() * np.float32(np.sqrt(8.0))


def _interpolate(image: np.ndarray, local: list[np.ndarray]) -> np.ndarray:
    """Linear interpolation of `[M, x, y, z]` at block coordinates, border repeated."""
    shape = image.shape[1:]
    grid = torch.empty((1, *local[0].shape, 3), dtype=torch.float32)
    for axis in range(3):  # grid_sample wants the last axis first
        span = max(shape[axis] - 1, 1)
        grid[0, ..., 2 - axis] = torch.from_numpy(2 * local[axis] / np.float32(span) - 1)
    sampled = F.grid_sample(
        torch.from_numpy(image)[None],
        grid,
        mode="bilinear",
        padding_mode="border",
        align_corners=True,
    )
    return sampled[0].numpy()


def _rotation(angles: np.ndarray) -> np.ndarray:
    """Rotation about x, then y, then z (radians)."""
    (cx, cy, cz), (sx, sy, sz) = np.cos(angles), np.sin(angles)
    about_x = np.array([[1, 0, 0], [0, cx, -sx], [0, sx, cx]])
    about_y = np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
    about_z = np.array([[cz, -sz, 0], [sz, cz, 0], [0, 0, 1]])
    return about_z @ about_y @ about_x
