"""Read and check volumes, and reorient them to the canonical (RAS+) orientation."""

from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import numpy as np

from neoseg.findings.problems import Problem
from neoseg.store.checks import check_affine, check_dimensions, check_numbers
from neoseg.store.damage import DataError
from neoseg.store.nifti import load_image


@dataclass(frozen=True)
class Volume:
    """A 3D array in canonical orientation, with the grid of its source file.

    `scaling` is the header's slope and intercept, None if they change nothing; `notes` are
    warnings.
    """

    data: np.ndarray
    affine: np.ndarray
    native_shape: tuple[int, int, int]
    native_affine: np.ndarray
    notes: tuple[Problem, ...] = ()
    scaling: tuple[float, float] | None = None


def read_volume(path: Path, dtype: type = np.float32) -> Volume:
    """Read one 3D volume of any format; a trailing axis of length 1 is dropped.

    The header's scaling is applied. With `dtype` float32 the voxels are converted; any other value
    keeps their type, so that label values stay exact.

    Raises:
        DataError: the file is missing, unreadable or damaged; or has a contradictory header, not
            three dimensions, an affine that is absent, singular, not finite or of absurd voxel
            sizes, voxels that are not numbers, NaN or infinite values, or, for float32, values
            beyond its range. All problems are listed.
    """
    image, data, problems = load_image(path)
    problems += [
        *check_dimensions(path, data.shape, dtype is not np.float32),
        *check_affine(path, image),
        *check_numbers(path, data, dtype is np.float32),
    ]
    errors = [problem for problem in problems if problem.severity == "error"]
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
    proxy = image.dataobj  # a plain array if the format has no scaling
    scaling = (float(getattr(proxy, "slope", 1.0)), float(getattr(proxy, "inter", 0.0)))
    return Volume(
        np.ascontiguousarray(array),
        canonical.affine,
        shape,
        affine,
        tuple(problems),
        None if scaling == (1.0, 0.0) else scaling,
    )


def _storable(data: np.ndarray) -> np.ndarray:
    """Convert `data` to a data type that NIfTI supports."""
    if data.dtype.kind == "b":
        return data.astype(np.uint8)
    if data.dtype.kind in "iu" and data.dtype.itemsize == 8:
        # Not by magnitude: that of the smallest int64 is negative.
        small = data.min(initial=0) > -(2**31) and data.max(initial=0) < 2**31
        return data.astype(np.int32 if small else np.float64)
    return data.astype(data.dtype.newbyteorder("="), copy=False)
