"""Reading NIfTI volumes, checked, in the canonical (RAS+) orientation."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from nibabel.filebasedimages import ImageFileError
from nibabel.orientations import aff2axcodes
from nibabel.spatialimages import HeaderDataError

GRID_TOLERANCE = 1e-3
"""Largest difference of two affines (mm) that still counts as rounding."""


class DataError(ValueError):
    """A file that cannot be used; the message names it and says what to do."""


@dataclass(frozen=True)
class Volume:
    """A 3D array in canonical orientation with the grid of the file that it came from."""

    data: np.ndarray
    affine: np.ndarray
    native_shape: tuple[int, int, int]
    native_affine: np.ndarray


def read_volume(path: Path, dtype: type = np.float32) -> Volume:
    """Read one 3D NIfTI file; a trailing axis of length 1 is dropped.

    The header's scaling is applied. `dtype` float32 converts the numbers; anything else keeps their
    type, so that label numbers stay exact.

    Raises:
        DataError: missing, unreadable or truncated files, other dimensions than 3, an affine
            that is singular or not finite, voxels that are no numbers, NaN or infinite values,
            or numbers beyond float32 where that is asked for.
    """
    if not path.is_file():
        raise DataError(f"{path} does not exist; correct the path or the cohort's root")
    try:
        if path.suffix == ".gz":
            _check_gzip(path)
        image: Any = nib.load(path)
        data = np.asanyarray(image.dataobj)
    except (
        OSError,
        EOFError,
        ValueError,
        zlib.error,
        gzip.BadGzipFile,
        ImageFileError,
        HeaderDataError,
    ) as error:
        raise DataError(
            f"{path} ({path.stat().st_size} bytes) is not a whole NIfTI file: {error}; copy or "
            "download it again"
        ) from None
    if data.ndim == 4 and data.shape[3] == 1:
        data = data[..., 0]
    if data.ndim != 3 or 0 in data.shape:
        raise DataError(f"{path} has shape {data.shape}, expected one 3D volume; split it first")
    affine = np.asarray(image.affine, dtype=np.float64)
    if not np.isfinite(affine).all() or abs(np.linalg.det(affine[:3, :3])) < 1e-9:
        raise DataError(
            f"{path} has an affine that is singular or not finite, so voxel size and left-right "
            "are unknown; restore the header from the source image"
        )
    if data.dtype.kind not in "fiub":
        raise DataError(f"{path} holds {data.dtype} voxels, expected numbers; convert it first")
    if data.dtype.kind == "f":
        finite = np.isfinite(data)
        if dtype is np.float32:
            finite &= np.abs(data) <= np.finfo(np.float32).max
        if not finite.all():
            count = int((~finite).sum())
            raise DataError(
                f"{path} has {count} voxels that are NaN or infinite; repair or drop it"
            )
    shape = data.shape
    canonical = nib.as_closest_canonical(nib.Nifti1Image(_native(data), affine))
    array = np.asarray(canonical.dataobj)
    if dtype is np.float32:
        array = array.astype(np.float32)
    return Volume(np.ascontiguousarray(array), canonical.affine, shape, affine)


def _check_gzip(path: Path) -> None:
    """Read a file to its end, where its checksum stands; nibabel stops before it."""
    with gzip.open(path) as stream:
        while stream.read(1 << 24):
            pass


def _native(data: np.ndarray) -> np.ndarray:
    """Return `data` in a type that NIfTI can carry."""
    if data.dtype.kind == "b":
        return data.astype(np.uint8)
    if data.dtype.kind in "iu" and data.dtype.itemsize == 8:
        return data.astype(np.int32 if np.abs(data).max(initial=0) < 2**31 else np.float64)
    return data.astype(data.dtype.newbyteorder("="))


def require_same_grid(
    path: Path, volume: Volume, reference: Path, shape: Sequence[int], affine: np.ndarray
) -> None:
    """Raise `DataError` where `volume` does not lie on the native grid of `reference`."""
    if volume.native_shape != tuple(shape):
        raise DataError(
            f"{path} has shape {volume.native_shape} and {reference} has {tuple(shape)}; both must "
            "lie on one grid: resample one to the other (labels with nearest neighbour)"
        )
    gap = float(np.abs(volume.native_affine - affine).max())
    if gap > GRID_TOLERANCE:
        axes, other = "".join(aff2axcodes(volume.native_affine)), "".join(aff2axcodes(affine))
        raise DataError(
            f"{path} (axes {axes}) and {reference} (axes {other}) have affines that differ by up "
            f"to {gap:.3g} mm, expected at most {GRID_TOLERANCE:g}; resample one to the other"
        )
