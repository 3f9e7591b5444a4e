"""Prepare arrays from image files, and map prepared label maps back to the grid of the file."""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np

from neoseg.capacity import free_memory
from neoseg.findings.problems import Problem
from neoseg.store.brightness import check_another, check_contrast, check_window, usual_brightness
from neoseg.store.checks import check_grid
from neoseg.store.damage import DataError
from neoseg.store.foreground import crop_box, head_of, in_units, in_window, normalise, read_mask
from neoseg.store.resampling import nearest, resample
from neoseg.store.settings import PrepareSettings
from neoseg.store.volume import Volume, read_volume
from neoseg.store.voxel_size import ALIKE, Size, canonical_sizes, check_unit, sizes_of

log = logging.getLogger(__name__)

Shape = tuple[int, int, int]


MAX_SKEW = 0.01
"""Largest cosine between two axes that count as at right angles."""


@dataclass(frozen=True)
class Geometry:
    """Everything that is needed to map a prepared label map back to the grid of its file.

    `crop` is a (start, stop) pair per canonical axis before resampling; `affine` is that of the
    file, `prepared_affine` maps prepared voxels to the same world coordinates in mm.
    """

    shape: Shape
    affine: tuple[tuple[float, ...], ...]
    canonical_shape: Shape
    crop: tuple[tuple[int, int], ...]
    prepared_shape: Shape
    prepared_affine: tuple[tuple[float, ...], ...]

    @property
    def spacing(self) -> Size:
        """Voxel size of the prepared grid in mm, canonical axes."""
        return sizes_of(np.array(self.prepared_affine))

    @property
    def canonical_spacing(self) -> Size:
        """Voxel size of the file in mm, canonical axes."""
        return canonical_sizes(np.array(self.affine))

    @property
    def voxel_ml(self) -> float:
        """Volume of a voxel of the file in ml; on a sheared grid less than its edges multiplied."""
        return abs(float(np.linalg.det(np.array(self.affine)[:3, :3]))) / 1000

    @property
    def is_sheared(self) -> bool:
        """Whether the axes of the file are not at right angles, by more than half a degree."""
        axes = np.array(self.affine)[:3, :3]
        axes = axes / np.linalg.norm(axes, axis=0)
        return bool(np.abs(axes.T @ axes - np.eye(3)).max() > MAX_SKEW)

    @property
    def box(self) -> tuple[slice, ...]:
        """The crop of a volume in canonical axes, as slices."""
        return tuple(slice(low, high) for low, high in self.crop)

    @property
    def resampled(self) -> bool:
        """Whether preparation changes the voxel grid beyond cropping."""
        return self.prepared_shape != tuple(high - low for low, high in self.crop)

    @classmethod
    def from_dict(cls, raw: dict[str, Any]) -> Geometry:
        """Create from the output of `dataclasses.asdict`, also after a round trip through JSON."""

        def freeze(value: Any) -> Any:
            return tuple(map(freeze, value)) if isinstance(value, list | tuple) else value

        return cls(**{key: freeze(value) for key, value in raw.items()})


def prepare_images(
    paths: Sequence[Path | None], settings: PrepareSettings, mask: Path | None = None
) -> tuple[np.ndarray, Geometry]:
    """Read, reorient, crop, resample and normalise the modalities of one scan.

    A modality whose path is None becomes a channel of zeros (the mean under z-score). The brain
    mask is read only if the settings use it. Warnings about the files are logged.

    Returns:
        float32 `[M, X, Y, Z]` in canonical axes, and the geometry of the first modality's file.

    Raises:
        DataError: unreadable files, grids that differ, a constant image, all in one error; or no
            usable mask although the settings need one.
    """
    volumes = read_images(paths, settings)
    for note in (note for volume in volumes if volume is not None for note in volume.notes):
        log.warning("%s", note.sentence)
    return prepare_volumes(volumes, settings, brain_of(volumes, paths, settings, mask))


def brain_of(
    volumes: Sequence[Volume | None],
    paths: Sequence[Path | None],
    settings: PrepareSettings,
    mask: Path | None,
) -> np.ndarray | None:
    """Return the brain mask in canonical axes if the settings use one; raises `DataError`."""
    first, path = volumes[0], paths[0]
    if settings.foreground != "mask" or first is None or path is None:
        return None
    return read_mask(mask, first, path)


def read_images(paths: Sequence[Path | None], settings: PrepareSettings) -> list[Volume | None]:
    """Read the modalities of one scan; raises `DataError` like `prepare_images`.

    They are as the files hold them, border and outliers apart; the settings are only checked.
    """
    window = settings.window
    if not paths or paths[0] is None:
        raise DataError("a scan needs at least the image of the cohort's first modality")
    volumes: list[Volume | None] = []
    problems: list[Problem] = []
    for path in paths:
        volume = None
        try:
            volume = None if path is None else read_volume(path)
        except DataError as error:
            problems += error.problems
        volumes.append(volume)
        if path is None or volume is None:
            continue
        problems += check_contrast(path, volume.data)
        problems += check_unit(path, volume.affine, settings.spacing)
        problems += [] if window is None else check_window(path, volume.data, window)
        data, notes = usual_brightness(path, volume.data)
        previous = zip(paths, volumes[:-1], strict=False)
        problems += check_another(path, data, [(p, v.data) for p, v in previous if v is not None])
        volumes[-1] = volume = replace(volume, data=data, notes=(*volume.notes, *notes))
        first = volumes[0]
        if first is not None:
            grid = (first.native_shape, first.native_affine)
            problems += check_grid(path, volume.native_shape, volume.native_affine, paths[0], *grid)
    if problems:
        raise DataError.of(problems)
    return volumes


def prepare_volumes(
    volumes: Sequence[Volume | None], settings: PrepareSettings, brain: np.ndarray | None = None
) -> tuple[np.ndarray, Geometry]:
    """Crop, resample and normalise the volumes of `read_images`, with the mask of `brain_of`.

    Intensities are limited to the window, if there is one, before anything goes by them.
    """
    if settings.window is not None:
        window = settings.window
        volumes = [v and replace(v, data=in_window(v.data, window)) for v in volumes]
    first = volumes[0]
    assert first is not None
    # Without a mask the crop depends on the image only, so training and prediction crop alike.
    inside = head_of(first.data) if brain is None else brain
    box = crop_box(inside, first.affine, settings.crop_margin)
    start = np.array([low for low, _ in box])
    affine = first.affine.copy()
    affine[:3, 3] += first.affine[:3, :3] @ start
    shape: Shape = tuple(high - low for low, high in box)  # type: ignore[assignment]
    if settings.spacing is not None:
        shape, affine = _resampled_grid(shape, affine, settings.spacing)
        wanted = 4 * math.prod(shape) * len(volumes)
        if wanted > free_memory():
            raise MemoryError(f"{shape} voxels need {wanted >> 20} MiB, more than are free")

    channels = []
    for volume in volumes:
        if volume is None:
            channels.append(np.zeros(shape, dtype=np.float32))
            continue
        if brain is None and volume is not first:
            inside = head_of(volume.data)
        if settings.window is None:
            normalised = normalise(volume.data, settings.normalise, inside, brain is not None)
        else:
            normalised = in_units(volume.data, settings.window)
        cropped = normalised[tuple(slice(low, high) for low, high in box)]
        channels.append(resample(cropped, shape))
    geometry = Geometry(
        shape=first.native_shape,
        affine=tuple(map(tuple, first.native_affine.tolist())),
        canonical_shape=first.data.shape,
        crop=tuple(box),
        prepared_shape=shape,
        prepared_affine=tuple(map(tuple, affine.tolist())),
    )
    return np.stack(channels), geometry


def prepare_labels(codes: np.ndarray, geometry: Geometry) -> np.ndarray:
    """Resample canonical codes (any integer type) to the prepared grid by nearest neighbour."""
    return nearest(codes[geometry.box], geometry.prepared_shape)


def to_canonical(labels: np.ndarray, geometry: Geometry, fill: float) -> np.ndarray:
    """Put prepared labels `[X, Y, Z]` on the uncropped canonical grid, `fill` outside the crop.

    Raises:
        ValueError: `labels` does not have the prepared shape.
    """
    if labels.shape != geometry.prepared_shape:
        raise ValueError(
            f"labels have shape {labels.shape}, the prepared grid is {geometry.prepared_shape}"
        )
    canonical = np.full(geometry.canonical_shape, fill, dtype=labels.dtype)
    inside = canonical[geometry.box]
    inside[...] = nearest(labels, inside.shape)
    return canonical


def to_native(canonical: np.ndarray, geometry: Geometry) -> np.ndarray:
    """Reorient a canonical volume to the axis order and directions of the scan's file."""
    canonical_axes = nib.orientations.axcodes2ornt("RAS")
    native_axes = nib.io_orientation(np.array(geometry.affine))
    back = nib.orientations.ornt_transform(canonical_axes, native_axes)
    return np.ascontiguousarray(nib.apply_orientation(canonical, back))


def _resampled_grid(shape: Shape, affine: np.ndarray, spacing: Size) -> tuple[Shape, np.ndarray]:
    """Return shape and affine of a grid of about the given voxel size and the same field of view.

    Axes that already have that voxel size are unchanged.
    """
    factor = np.array(sizes_of(affine)) / spacing
    factor[np.abs(factor - 1) <= ALIKE] = 1
    # Rounded first, so that floating-point noise in the size does not decide ties at half a voxel.
    new = np.maximum(1, np.rint((np.array(shape) * factor).round(3))).astype(int)
    step = np.array(shape) / new
    result = affine.copy()
    result[:3, :3] = affine[:3, :3] * step
    result[:3, 3] = affine[:3, 3] + affine[:3, :3] @ ((step - 1) / 2)
    return (int(new[0]), int(new[1]), int(new[2])), result
