"""Cut a patch out of a stored scan and warp it in a single interpolation.

Affine and elastic displacement are composed into one map from output voxels to scan voxels. Only
the block of the scan that the map reaches is read; the image is interpolated linearly and the codes
by nearest neighbour, so codes are never mixed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from pydantic import Field

from neoseg.augment.patch_map import PatchMap, Triple
from neoseg.augment.resample import resample
from neoseg.findings.settings import Section
from neoseg.labels import UNKNOWN, hide_slices

if TYPE_CHECKING:
    from neoseg.store.entry import StoreEntry

Block = tuple[slice, slice, slice]

FLAT = 3.0
"""Ratio of the sides of a patch above which it is changed slice by slice, as in nnU-Net."""

SLACK = 0.01
"""Voxels by which rounding may carry a coordinate beyond the computed extremes."""


class SpatialSettings(Section):
    """Ranges of the random geometry; zero switches a part off."""

    rotation: float = Field(default=15.0, ge=0, le=180, description="degrees, each axis, +-")
    scaling: float = Field(default=0.15, ge=0, lt=1, description="isotropic factor 1 +- this")
    stretching: float = Field(default=0.05, ge=0, lt=1, description="per axis on top of it")
    elastic: float = Field(default=2.0, ge=0, le=100, description="mm, std of control points")
    elastic_grid: float = Field(default=16.0, ge=1, description="mm between these, at most")
    flip: float = Field(default=0.5, ge=0, le=1, description="probability of left-right mirroring")
    probability: float = Field(default=0.8, ge=0, le=1, description="of affine and elastic")


@dataclass(frozen=True)
class Geometry3D:
    """A geometry drawn for one patch.

    Attributes:
        matrix: `[3, 3]` from output offsets to scan offsets, in voxels.
        elastic: control-point displacements `[3, a, b, c]` in scan voxels, or None.
        flipped: whether left and right are swapped.
    """

    matrix: np.ndarray
    elastic: np.ndarray | None
    flipped: bool

    @property
    def is_identity(self) -> bool:
        """Whether the patch can be cut without interpolation."""
        return self.elastic is None and np.array_equal(np.abs(self.matrix), np.eye(3))

    @property
    def parts(self) -> tuple[str, ...]:
        """Names of its transformations."""
        has_affine = not np.array_equal(np.abs(self.matrix), np.eye(3))
        applied = {"affine": has_affine, "elastic": self.elastic is not None, "flip": self.flipped}
        return tuple(name for name, used in applied.items() if used)


def draw_geometry(
    settings: SpatialSettings | None,
    rng: np.random.Generator,
    size: Triple,
    spacing: Sequence[float],
) -> Geometry3D:
    """Draw a geometry for one patch; settings of None give the identity.

    A patch that is one voxel thin (a slice) is only rotated and deformed within its plane, and not
    mirrored across it. Nor is a flat patch, as of few thick slices, rotated or deformed across its
    slices, which would mix what lies far apart and leave much of it outside.
    """
    if settings is None:
        return Geometry3D(np.eye(3), None, False)
    # A slice has no mirror image: left and right would be swapped in the labels alone.
    flipped = bool(rng.random() < settings.flip) and size[0] > 1
    mirror = np.diag([-1.0 if flipped else 1.0, 1.0, 1.0])
    if rng.random() >= settings.probability:
        return Geometry3D(mirror, None, flipped)
    angles = np.deg2rad(rng.uniform(-1, 1, 3) * settings.rotation)
    scale = 1 + rng.uniform(-1, 1) * settings.scaling
    stretch = scale * (1 + rng.uniform(-1, 1, 3) * settings.stretching)
    extent = np.array(size) * np.array(spacing)
    grid = [int(np.ceil(mm / settings.elastic_grid)) + 3 for mm in extent]
    displacement = rng.normal(0, settings.elastic, (3, *grid)).astype(np.float32)

    thin = [axis for axis in range(3) if size[axis] == 1 or max(size) > FLAT * size[axis]]
    for axis in thin:
        angles[[other for other in range(3) if other != axis]] = 0
        displacement[axis] = 0
    voxel = np.asarray(spacing, dtype=np.float64)
    turn = rotation(angles)
    # Rotate in millimetres, so that anisotropic voxels do not shear.
    matrix = np.diag(1 / voxel) @ turn @ np.diag(stretch * voxel) @ mirror
    deforms = settings.elastic > 0
    elastic = displacement / voxel[:, None, None, None].astype(np.float32) if deforms else None
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

    `lookup` (uint8 `[256]`) maps stored codes to rows of the codebook. Voxels outside the scan
    repeat its border in the image and are unknown in the codes. `annotated_slices` (bool, along
    `slice_axis`) marks the slices that are annotated.
    """

    def read_codes(block: Block) -> np.ndarray | None:
        if not entry.annotated:
            return None
        codes = _apply_lookup(entry.read_codes(block), lookup)
        if annotated_slices is not None:
            hide_slices(codes, annotated_slices[block[slice_axis]], slice_axis)
        return codes

    if geometry.is_identity:
        return _cut_box(entry, centre, size, np.diag(geometry.matrix) < 0, read_codes)
    patch_map = PatchMap.of(centre, size, geometry.matrix, geometry.elastic)
    shape = np.array(entry.shape)
    low = np.clip(np.floor(patch_map.low - SLACK).astype(int), 0, shape - 1)
    high = np.clip(np.ceil(patch_map.high + SLACK).astype(int) + 1, low + 1, shape)
    block = _block(low, high)
    codes = read_codes(block)
    patch, patch_codes = resample(
        torch.from_numpy(entry.read_image(block)),
        None if codes is None else torch.from_numpy(codes),
        low.tolist(),
        entry.shape,
        patch_map,
    )
    unknown = np.full(size, UNKNOWN, dtype=np.uint8)
    return patch.numpy(), unknown if patch_codes is None else patch_codes.numpy()


def _cut_box(
    entry: StoreEntry,
    centre: Sequence[int],
    size: Triple,
    flipped: np.ndarray,
    read_codes: Callable[[Block], np.ndarray | None],
) -> tuple[np.ndarray, np.ndarray]:
    """Return the voxels of a box without interpolation, reversed along the axes of `flipped`."""
    shape = np.array(entry.shape)
    first = np.array(centre) - np.array(size) // 2
    stop = first + size
    low = np.clip(first, 0, shape - 1)
    high = np.clip(stop, low + 1, shape)
    block = _block(low, high)
    image, codes = entry.read_image(block), read_codes(block)
    if codes is None:
        codes = np.full(high - low, UNKNOWN, dtype=np.uint8)
    for axis in np.flatnonzero((first < low) | (stop > high)):
        nearest = np.clip(np.arange(first[axis], stop[axis]), low[axis], high[axis] - 1) - low[axis]
        image, codes = image.take(nearest, axis + 1), codes.take(nearest, axis)
        along = np.moveaxis(codes, axis, 0)
        along[: max(0, -first[axis])] = UNKNOWN
        along[max(0, shape[axis] - first[axis]) :] = UNKNOWN
    reversal = tuple(slice(None, None, -1 if reverse else None) for reverse in flipped)
    image = image[(slice(None), *reversal)].astype(np.float32, order="C")
    return image, np.ascontiguousarray(codes[reversal])


def _block(low: np.ndarray, high: np.ndarray) -> Block:
    x, y, z = (slice(int(a), int(b)) for a, b in zip(low, high, strict=True))
    return x, y, z


def _apply_lookup(codes: np.ndarray, lookup: np.ndarray) -> np.ndarray:
    """Return `lookup[codes]` (both uint8), twice as fast as indexing."""
    values = bytearray(np.ascontiguousarray(codes).data).translate(lookup.tobytes())
    return np.frombuffer(values, dtype=np.uint8).reshape(codes.shape)


def rotation(angles: np.ndarray) -> np.ndarray:
    """Return the matrix `[3, 3]` that rotates about x, y, then z by `angles` `[3]` (radians)."""
    (cx, cy, cz), (sx, sy, sz) = np.cos(angles), np.sin(angles)
    about_x = np.array([[1, 0, 0], [0, cx, -sx], [0, sx, cx]])
    about_y = np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
    about_z = np.array([[cz, -sz, 0], [sz, cz, 0], [0, 0, 1]])
    turn: np.ndarray = about_z @ about_y @ about_x
    return turn
