"""Consistency of redundant NIfTI header fields: orientation, voxel size, data type and length."""

import re
from itertools import product
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from nibabel.affines import voxel_sizes
from nibabel.spatialimages import HeaderDataError

from neoseg.findings.problems import Problem
from neoseg.store.checks import no_orientation, one, shown

MAX_SHIFT = 0.1
"""Largest difference between sform and qform, in voxels."""

SIZE_TOLERANCE = 0.01
"""Largest relative difference of voxel sizes."""

UNITS = {0: "mm", 1: "metres", 2: "mm", 3: "micrometres"}
"""Spatial units by code. Headers without a unit (code 0) nearly always mean millimetres."""

_AMBIGUOUS = "some programs go by one of them, others by the other"


def check_header(path: Path, image: Any, head: bytes, behind: bytes, more: int) -> list[Problem]:
    """Return contradictions within a header, or between a header and the voxels of its file.

    nibabel repairs headers on reading, so the raw fields are compared.

    Args:
        path: of the file, for messages.
        image: the nibabel image.
        head: the first bytes of the uncompressed file.
        behind: the bytes after the voxels that the header announces, or the first of them.
        more: the number of these bytes.
    """
    header_class = type(image.header)
    block = head[: header_class.sizeof_hdr]
    stored = header_class(block, endianness=image.header.endianness, check=False)
    return [
        *check_forms(path, stored, image.shape),
        *_check_sizes(path, stored, image.affine),
        *_check_scaling(path, stored),
        *_check_length(path, stored, image, behind, more),
    ]


def _check_scaling(path: Path, stored: Any) -> list[Problem]:
    """Check that numbers are not scaled by infinity; nan, or a slope of 0, means that none are."""
    names = [name for name in ("scl_slope", "scl_inter") if name in stored]
    endless = [f"{name} {float(stored[name])}" for name in names if np.isinf(stored[name])]
    if not endless:
        return []
    return one(
        path,
        f"has a header that scales its numbers without bound ({', '.join(endless)})",
        "finite numbers, or scl_slope 0 for none",
        "the numbers are taken as they are stored; export it again if they should be others",
        "header-type",
        "warning",
    )


def check_mgh_header(path: Path, head: bytes) -> list[Problem]:
    """Check that an MGH file says how it lies; nibabel would assume FreeSurfer's usual axes."""
    if any(head[28:30]):
        return []
    return no_orientation(path, "no orientation (goodRASFlag 0)")


def check_nrrd_unit(path: Path, unit: str, affine: np.ndarray) -> list[Problem]:
    """Check that the lengths of an NRRD file are in millimetres."""
    if re.fullmatch("mm|millimet(er|re)s?", unit.casefold()):
        return []
    how = 'replace the unit in the line "space units" by "mm"'
    return _other_unit(path, unit, voxel_sizes(affine), how)


def _check_length(path: Path, stored: Any, image: Any, behind: bytes, more: int) -> list[Problem]:
    """Check that datatype and bitpix agree, and that the file ends with its voxels."""
    problems = []
    dtype, bits = image.get_data_dtype(), int(stored["bitpix"])
    if bits != 8 * dtype.itemsize:
        problems += one(
            path,
            f"has voxels of {dtype} by its datatype and of {bits} bits by its bitpix",
            f"bitpix {8 * dtype.itemsize}",
            "copy or export it again" if behind else "its length fits the datatype, which is taken",
            "header-type",
            "error" if behind else "warning",
        )
    if behind:
        plane = int(np.prod(image.shape[:2])) * dtype.itemsize
        padding = len(behind) == more < plane and not any(behind)
        problems += one(
            path,
            f"holds {more} bytes more than the {dtype} voxels {tuple(image.shape)} that "
            "its header announces",
            "a file that ends with its voxels",
            "they are zeros and are ignored"
            if padding
            else "copy or export it again; its header tells of other voxels than are there",
            "trailing-bytes",
            "warning" if padding else "error",
        )
    return problems


def check_forms(path: Path, stored: Any, shape: tuple[int, ...]) -> list[Problem]:
    """Check that sform and qform agree on the position of the voxels."""
    if not (stored["sform_code"] and stored["qform_code"]):
        return []
    sform = np.asarray(stored.get_sform(), np.float64)
    if not (np.isfinite(sform).all() and np.linalg.det(sform)):
        return []  # the sform is the affine, which `check_affine` reports
    try:
        qform = np.asarray(stored.get_qform(), np.float64)
        difference = np.linalg.solve(sform, qform)
        orientation = nib.io_orientation(difference)
    except (HeaderDataError, ValueError, np.linalg.LinAlgError):
        difference = np.full((4, 4), np.nan)
    if not np.isfinite(difference).all() or np.isnan(orientation).any():
        return one(
            path,
            "has a qform that is no rotation with voxel sizes",
            "the place of its voxels twice, by sform and qform",
            "the sform is taken; write it over the qform, image.set_qform(image.get_sform())",
            "header-forms",
            "warning",
        )
    s_axes, q_axes = ("".join(nib.aff2axcodes(form)) for form in (sform, qform))
    flipped = not np.array_equal(orientation, [[0, 1], [1, 1], [2, 1]])
    ends = [(0, max(0, length - 1)) for length in (*shape, 1, 1, 1)[:3]]
    corners = np.array([[*corner, 1] for corner in product(*ends)]).T
    gap = float(np.linalg.norm(((sform - qform) @ corners)[:3], axis=0).max())
    if not flipped and gap <= MAX_SHIFT * voxel_sizes(sform).min():
        return []
    fix = "image.set_qform(image.get_sform(), 1) or image.set_sform(image.get_qform(), 1)"
    return one(
        path,
        f"lies in {s_axes} by its sform and in {q_axes} by its qform, "
        f"up to {gap:.3g} mm apart, and " + _AMBIGUOUS,
        "one place for each voxel",
        f"find out which is right and write it over the other with nibabel, {fix}"
        if flipped
        else f"the sform is taken; if it is not right, correct the header with nibabel, {fix}",
        "header-forms",
        "error" if flipped else "warning",
    )


def _other_unit(path: Path, unit: str, sizes: np.ndarray, how: str) -> list[Problem]:
    return one(
        path,
        f"gives its lengths in {unit}, and its voxels are {shown(sizes)}",
        "lengths in mm",
        f"they are taken as mm; {how} if they are",
        "header-sizes",
        "warning",
    )


def _check_sizes(path: Path, stored: Any, affine: np.ndarray) -> list[Problem]:
    """Check that units are millimetres and that pixdim and affine have the same voxel sizes."""
    problems = []
    code = int(stored["xyzt_units"]) & 7
    unit = UNITS.get(code, f"a unit that does not exist ({code})")
    sizes = voxel_sizes(affine)
    if unit != "mm":
        problems += _other_unit(path, unit, sizes, "write image.header.set_xyzt_units('mm')")
    pixdim = np.abs(np.asarray(stored["pixdim"][1:4], np.float64))
    # If both forms are set, `check_forms` compares them.
    if not stored["qform_code"] and not np.allclose(pixdim, sizes, rtol=SIZE_TOLERANCE, atol=0):
        problems += one(
            path,
            f"has voxels of {shown(sizes)} mm by its sform, and of {shown(pixdim)} mm by its "
            "pixdim",
            "one size",
            "the sform is taken; if the pixdim is right, scale the columns of the affine to it",
            "header-sizes",
            "warning",
        )
    return problems
