"""Checks of the voxels and the grid of a file, one small function each."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from nibabel.affines import voxel_sizes
from nibabel.orientations import aff2axcodes, inv_ornt_aff, io_orientation

from neoseg.cohort.formats import SEGMENTATION
from neoseg.findings.problems import Problem

GRID_TOLERANCE = 1e-3
"""Largest difference between two affines (mm) that still counts as rounding."""

VOXEL_SIZES = (0.01, 20.0)
"""Plausible range in mm; sizes outside it come from a header in other units."""


def shown(size: Sequence[float] | np.ndarray) -> str:
    """Format a voxel size."""
    return " x ".join(f"{length:.3g}" for length in size)


def one(
    path: Path,
    found: str,
    expected: str,
    action: str,
    kind: str,
    severity: Literal["error", "warning"] = "error",
) -> list[Problem]:
    """Return a list with a single finding about a file."""
    return [Problem(str(path), found, expected, action, kind, severity=severity)]


def check_dimensions(path: Path, shape: Sequence[int], is_label: bool = False) -> list[Problem]:
    """Check that a file holds one volume: three axes, and at most a fourth of length 1."""
    shape = tuple(shape)
    if len(shape) == 4 and shape[3] == 1 and 0 not in shape:
        return one(
            path,
            f"has shape {shape}",
            "three axes",
            "the last axis is dropped",
            "trailing-axis",
            severity="warning",
        )
    if len(shape) != 3 or 0 in shape:
        action = "write each volume of a series into a file of its own"
        if path.name.lower().endswith(SEGMENTATION):
            action = (
                "its segments lie in several layers; in 3D Slicer, export the segmentation as one "
                "label map"
            )
        elif is_label:
            action = "write one label map: the largest of the values along the last axis (argmax)"
        if 0 in shape:
            action = "restore it: there is no voxel in it"
        elif len(shape) < 3:
            action = "give a single slice a third axis of length 1"
        return one(path, f"has shape {shape}", "one 3D volume", action, "dimensions")
    return []


def no_orientation(path: Path, lacking: str) -> list[Problem]:
    """Return that a file does not tell left from right, for what its header has or lacks."""
    return one(
        path,
        f"has {lacking}, so left and right are unknown",
        "an affine from the scanner",
        "restore the header from the source image",
        "absent-affine",
    )


def check_affine(path: Path, image: Any) -> list[Problem]:
    """Check that the affine is present, invertible and has plausible voxel sizes in mm."""
    header = image.header
    codes = [int(header[name]) for name in ("sform_code", "qform_code") if name in header]
    if len(codes) == 2 and not any(codes):
        return no_orientation(path, "neither sform nor qform, or what its format has instead")
    affine = np.asarray(image.affine, dtype=np.float64)
    sizes = voxel_sizes(affine)
    finite = bool(np.isfinite(affine).all())
    if not finite or not abs(np.linalg.det(affine[:3, :3])) > 1e-6 * sizes.prod():
        return one(
            path,
            "has an affine that is singular or not finite, so voxel size and left-right are "
            "unknown",
            "three axes with a length",
            "restore the header from the source image",
            "singular-affine",
        )
    low, high = VOXEL_SIZES
    if sizes.min() < low or sizes.max() > high:
        return one(
            path,
            f"has voxels of {shown(sizes)} mm",
            f"{low:g} to {high:g} mm along each axis",
            "scale the affine to mm (by 1000 from metres, by 0.001 from micrometres) and set its "
            "unit, image.header.set_xyzt_units('mm')",
            "voxel-size",
        )
    return []


def check_numbers(path: Path, data: np.ndarray, float32: bool) -> list[Problem]:
    """Check that all voxels are finite numbers, and within float32 range if `float32` is set."""
    if data.dtype.names:
        action = "save labels as whole numbers, one for each structure, and an image in grey"
        return one(path, "holds colours (RGB)", "numbers", action, "no-numbers")
    if data.dtype.kind not in "fiub":
        return one(path, f"holds {data.dtype} voxels", "numbers", "convert it first", "no-numbers")
    if data.dtype.kind != "f":
        return []
    finite = np.isfinite(data)
    if float32 and data.dtype.itemsize > 4:
        finite &= np.abs(data) <= np.finfo(np.float32).max
    count = data.size - int(np.count_nonzero(finite))
    if count:
        found = f"has {count} voxels that are NaN or infinite"
        action = "put 0 in their place (such as by fslmaths IN -nan OUT), or drop it"
        return one(path, found, "numbers", action, "not-finite")
    return []


def check_grid(
    path: Path,
    shape: Sequence[int],
    affine: np.ndarray,
    reference: Path,
    wanted_shape: Sequence[int],
    wanted_affine: np.ndarray,
) -> list[Problem]:
    """Check that two files share a grid, in whatever order they store it, up to rounding."""
    shape, own = _canonical(shape, affine)
    wanted_shape, wanted = _canonical(wanted_shape, wanted_affine)
    if shape != wanted_shape:
        return one(
            path,
            f"has shape {shape} and {reference} has {wanted_shape}",
            "one grid",
            "resample one to the other (labels with nearest neighbour)",
            "grid-shape",
        )
    gap = float(np.abs(own - wanted).max())
    if gap <= GRID_TOLERANCE:
        return []
    axes, reference_axes = ("".join(map(str, aff2axcodes(a))) for a in (affine, wanted_affine))
    return one(
        path,
        f"(axes {axes}) and {reference} (axes {reference_axes}) have affines that differ by up to "
        f"{gap:.3g} mm",
        f"at most {GRID_TOLERANCE:g}",
        "look at both: if they fit voxel by voxel, one header is wrong, and the other's belongs in "
        "its place (fslcpgeom RIGHT WRONG -d); else resample one to the other",
        "grid-affine",
    )


def _canonical(shape: Sequence[int], affine: np.ndarray) -> tuple[tuple[int, ...], np.ndarray]:
    """Return shape and affine of a grid after its axes are reordered and flipped to RAS+."""
    orientation = io_orientation(affine)
    reordered = np.empty(3, int)
    reordered[orientation[:, 0].astype(int)] = shape
    canonical: np.ndarray = affine @ inv_ornt_aff(orientation, tuple(shape))
    return tuple(int(length) for length in reordered), canonical
