"""The voxel size of a run: the configured one, or that of its cohort's scans."""

import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from statistics import median_low
from typing import Annotated, Any

import nibabel as nib
import numpy as np
from nibabel.affines import voxel_sizes
from pydantic import AfterValidator, BeforeValidator

from neoseg.cohort import Cohort, Problem, Scan
from neoseg.findings.problems import shorten
from neoseg.findings.settings import ConfigError
from neoseg.store.checks import VOXEL_SIZES, shown
from neoseg.store.nifti import HEADER_ERRORS, open_image

log = logging.getLogger(__name__)

Size = tuple[float, float, float]
"""Voxel size in mm along the canonical axes: left-right, posterior-anterior, inferior-superior."""

ALIKE = 0.01
"""Relative tolerance within which voxel sizes count as equal, to absorb rounding in headers."""

MAX_RATIO = 1.1
"""Largest ratio of voxel sizes of a scan and of the training that causes no warning."""

MISTAKEN = 8.0
"""Ratio of voxel sizes in all directions above which a header is taken to be in other units."""

THICK = 3.0
"""Ratio of the sides of a voxel above which scans count as slices."""


def _all_axes(raw: Any) -> Any:
    """Expand a single length to three."""
    return (raw, raw, raw) if isinstance(raw, int | float) else raw


def _possible(size: Size) -> Size:
    low, high = VOXEL_SIZES
    if not all(low <= length <= high for length in size):
        raise ValueError(
            f"voxels of {list(size)} mm; give one length or three, from {low:g} to {high:g} mm"
        )
    return size


VoxelSize = Annotated[Size, BeforeValidator(_all_axes), AfterValidator(_possible)]
"""Voxel size as in a configuration: one length in mm, or three."""


def sizes_of(affine: np.ndarray) -> Size:
    """Return the voxel size in mm along the axes of an affine, without its rounding errors.

    Oblique affines in single precision give sizes such as 1.99999998 mm.
    """
    x, y, z = voxel_sizes(np.asarray(affine, dtype=np.float64)).round(5).tolist()
    return x, y, z


def canonical_sizes(affine: np.ndarray) -> Size:
    """Return the voxel size of an affine in mm along the canonical axes."""
    sizes = sizes_of(affine)
    x, y, z = (sizes[int(axis)] for axis in nib.io_orientation(affine)[:, 0].argsort())
    return x, y, z


def with_voxel_size(cohort: Cohort, asked: Size | None, quiet: bool = False) -> Cohort:
    """Return the cohort with the voxel size to which its scans are resampled.

    If `asked` is None, this is the median along each axis over the scans (first images, canonical
    axes), which is always a length that occurs (of the middle two, the finer). If some scans need
    resampling, a warning is added to the cohort's problems, and logged unless `quiet`. Only headers
    are read; unreadable ones are skipped and left to the preparation to report.
    """
    sizes = scan_sizes(cohort.scans)
    if not sizes:
        return replace(cohort, voxel_size=asked)
    size = asked or median_size(sizes)
    mismatched = Counter(shown(scan_size) for scan_size in sizes if not alike(scan_size, size))
    if not mismatched:
        return replace(cohort, voxel_size=size)
    axes = Counter(int(np.argmax(one)) for one in sizes if max(one) > THICK * min(one))
    several = " and ".join(f"{count} along {'xyz'[axis]}" for axis, count in axes.most_common())
    counted = [f"{count} of {name} mm" for name, count in mismatched.most_common()]
    problem = Problem(
        f"cohort '{cohort.name}'",
        f"{mismatched.total()} of {len(sizes)} scans do not have voxels of {shown(size)} mm: "
        + shorten(counted, 4)
        + (f"; they have thick slices along several axes, {several}" if len(axes) > 1 else ""),
        "one size for a network",
        "they are resampled to it"
        + ("" if asked else ", the median; store.spacing=[x,y,z] (mm) chooses another size")
        + (
            "; none suits slices along several axes: write copies of images and labels in which "
            "all lie along one, such as with the affine diag(x, y, z, 1), also of scans to "
            "segment, and keep the originals: copies do not tell where a scan lies"
            if len(axes) > 1 and not asked
            else ""
        ),
        "mixed-voxel-sizes",
        severity="warning",
    )
    if not quiet:
        log.warning("%s", problem)
    return replace(cohort, voxel_size=size, problems=(*cohort.problems, problem))


def scan_sizes(scans: Sequence[Scan]) -> list[Size]:
    """Return the voxel sizes of first images in canonical axes, without unreadable headers."""
    sizes: list[Size] = []
    for scan in scans:
        try:
            assert scan.images[0] is not None
            size = canonical_sizes(open_image(scan.images[0]).affine)
        except (*HEADER_ERRORS, np.linalg.LinAlgError):
            continue
        if VOXEL_SIZES[0] <= min(size) <= max(size) <= VOXEL_SIZES[1]:
            sizes.append(size)
    return sizes


def median_size(sizes: Sequence[Size]) -> Size:
    """Return the median along each axis, of the middle two the finer."""
    x, y, z = (median_low(axis) for axis in zip(*sizes, strict=True))
    return x, y, z


def alike(first: Sequence[float], second: Sequence[float]) -> bool:
    """Return whether two voxel sizes are equal up to `ALIKE`, so that no resampling is needed."""
    return bool(np.allclose(first, second, rtol=ALIKE, atol=0))


def size_warning(sizes: Size, trained: Size | None) -> str:
    """Return a warning if a scan has larger voxels than the network was trained on, else "".

    Also if they are smaller by so much that one of the two headers is mistaken (`MISTAKEN`).
    """
    if trained is None:
        return ""
    if all(a * MISTAKEN < b for a, b in zip(sizes, trained, strict=True)):
        return (
            f"has voxels of {shown(sizes)} mm, and the network was trained at {shown(trained)} mm: "
            "in every direction far less, as if a header were in other units, or multiplied by 10; "
            "correct its affine if so"
        )
    if not any(a > MAX_RATIO * b for a, b in zip(sizes, trained, strict=True)):
        return ""
    same = np.allclose(sorted(sizes), sorted(trained), rtol=MAX_RATIO - 1, atol=0)
    turned = np.argmax(sizes) != np.argmax(trained)
    if same and turned and max(trained) > THICK * min(trained):
        return (
            f"has slices along another axis than the scans of the training, {shown(sizes)} mm "
            f"instead of {shown(trained)} mm: what they show in detail is lost in slices of that "
            "kind, and what lies between them is guessed; expect much lower quality"
        )
    return (
        f"has voxels of {shown(sizes)} mm, coarser than the {shown(trained)} mm that the network "
        "was trained at: what lies between its voxels is guessed, expect lower quality"
    )


def check_unit(path: Path, affine: np.ndarray, prepared: Size | None) -> list[Problem]:
    """Check that a scan's voxels are not many times the prepared ones (mm) in every direction."""
    sizes = sizes_of(affine)
    if prepared is None or not all(a > MISTAKEN * b for a, b in zip(sizes, prepared, strict=True)):
        return []
    return [
        Problem(
            str(path),
            f"has voxels of {shown(sizes)} mm, which would be resampled to {shown(prepared)} mm",
            f"voxels of at most {MISTAKEN:g} times that in one direction or another",
            "correct its affine, which may be in other units or multiplied by 10; or leave it out",
            "voxel-size",
        )
    ]


def check_slices(scan: Scan, file: Size, prepared: Size) -> list[Problem]:
    """Check that labels on single planes are not resampled across them, which would lose planes.

    `file` and `prepared` are the voxel sizes of the scan, in mm.
    """
    protocol = scan.described
    if protocol is None or protocol.slices is None or scan.label is None:
        return []
    axis = protocol.slice_axis
    if abs(file[axis] / prepared[axis] - 1) <= ALIKE:
        return []
    kept = [*prepared[:axis], file[axis], *prepared[axis + 1 :]]
    return [
        Problem(
            str(scan.label),
            f"is drawn on single {protocol.slices.plane} planes of {file[axis]:.3g} mm, and would "
            f"be resampled to {prepared[axis]:.3g} mm across them",
            "planes that stay as they were drawn",
            f"keep their distance, 'store.spacing=[{','.join(f'{size:.4g}' for size in kept)}]'; "
            "scans whose planes are of other thickness need a run of their own",
            "sparse-planes",
        )
    ]


def size_of_training(noted: Size | None, given: Size | None) -> Size | None:
    """Return the voxel size of a network's training in mm: as its run noted it, else as given.

    Raises:
        ConfigError: another one is given than was noted.
    """
    if noted is None and given is None:
        log.warning(
            "the run is of an earlier version, which did not note the voxel size of its training: "
            "scans are segmented at their own; tell it with voxel_size=[x,y,z] (mm)"
        )
    if noted is not None and given is not None and not alike(noted, given):
        raise ConfigError(
            f"voxel_size={list(given)} is for runs that did not note theirs, and this one was "
            f"trained at {list(noted)} mm; leave it out: scans of any size are brought there"
        )
    return noted or given
