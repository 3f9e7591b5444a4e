"""Reading volumes, checked, in the canonical (RAS+) orientation."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import numpy as np

from neoseg.findings.problems import Problem
from neoseg.store.checks import check_affine, check_dimensions, check_numbers
from neoseg.store.nifti import DataError, load_image


@dataclass(frozen=True)
class Volume:
    """A 3D array in canonical orientation with the grid of the file that it came from.

    `scaling` is what its header does to the stored numbers, slope and offset, None for nothing;
    `notes` are findings that stop nothing.
    """

    data: np.ndarray
    affine: np.ndarray
    native_shape: tuple[int, int, int]
    native_affine: np.ndarray
    notes: tuple[Problem, ...] = ()
    scaling: tuple[float, float] | None = None


def read_volume(path: Path, dtype: type = np.float32) -> Volume:
    """Read one 3D volume of any format; a trailing axis of length 1 is dropped.

    The header's scaling is applied. `dtype` float32 converts the numbers; anything else keeps their
    type, so that label numbers stay exact.

    Raises:
        DataError: missing, unreadable or damaged files, headers that contradict themselves, other
            dimensions than 3, no affine or one that is singular, not finite or of absurd voxel
            sizes, voxels that are no numbers, NaN or infinite values, or numbers beyond float32
            where that is asked for; all of them.
    """
    image, data, found = load_image(path)
    found += [
        *check_dimensions(path, data.shape),
        *check_affine(path, image),
        *check_numbers(path, data, dtype is np.float32),
    ]
    errors = [problem for problem in found if problem.severity == "error"]
    if errors:
        raise DataError.of(errors)
    if data.ndim == 4:
        data = data[..., 0]
    affine = np.asarray(image.affine, dtype=np.float64)
    shape = data.shape
    canonical = nib.as_closest_canonical(nib.Nifti1Image(_storable(data), affine))
    array = np.asarray(canonical.dataobj)
    if dtype is np.float32:
        array = array.astype(np.float32)
    stored = image.dataobj  # an array where the format knows no scaling
    scaling = (float(getattr(stored, "slope", 1.0)), float(getattr(stored, "inter", 0.0)))
    return Volume(
        np.ascontiguousarray(array),
        canonical.affine,
        shape,
        affine,
        tuple(found),
        None if scaling == (1.0, 0.0) else scaling,
    )


def _storable(data: np.ndarray) -> np.ndarray:
    """Return `data` in a type that NIfTI can carry."""
    if data.dtype.kind == "b":
        return data.astype(np.uint8)
    if data.dtype.kind in "iu" and data.dtype.itemsize == 8:
        return data.astype(np.int32 if np.abs(data).max(initial=0) < 2**31 else np.float64)
    return data.astype(data.dtype.newbyteorder("="), copy=False)
