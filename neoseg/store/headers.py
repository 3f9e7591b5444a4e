"""What a NIfTI header says twice, compared: where voxels lie, their size, type and number."""

from __future__ import annotations

from itertools import product
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from nibabel.spatialimages import HeaderDataError

from neoseg.findings.problems import Problem
from neoseg.store.checks import one

SHIFT = 0.1
"""Voxels by which sform and qform may differ."""

STRETCH = 0.01
"""Share by which voxel sizes may differ."""

UNITS = {0: "mm", 1: "metres", 2: "mm", 3: "micrometres"}
"""Spatial units by code. A header without one means millimetres, as nearly all do."""

_PROGRAMS = "some programs go by one of them, others by the other"


def check_header(path: Path, image: Any, head: bytes, behind: bytes, more: int) -> list[Problem]:
    """Return what contradicts itself in a header, or the voxels that are there.

    nibabel repairs what it reads, so fields are compared as they are stored.

    Args:
        path: of the file.
        image: as nibabel has it.
        head: the first bytes of the unpacked file.
        behind: its bytes behind the voxels that the header announces, or the first of them.
        more: how many there are.
    """
    kind = type(image.header)
    block = head[: kind.sizeof_hdr]
    stored = kind(block, endianness=image.header.endianness, check=False)
    return [
        *_forms(path, stored, image.shape),
        *_sizes(path, stored, image.affine),
        *_length(path, stored, image, behind, more),
    ]


def _length(path: Path, stored: Any, image: Any, behind: bytes, more: int) -> list[Problem]:
    """One type of voxels, and as many of them as are announced."""
    found = []
    dtype, bits = image.get_data_dtype(), int(stored["bitpix"])
    if bits != 8 * dtype.itemsize:
        found += one(
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
        found += one(
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
    return found


def _forms(path: Path, stored: Any, shape: tuple[int, ...]) -> list[Problem]:
    """One place for each voxel, by sform and by qform."""
    if not (stored["sform_code"] and stored["qform_code"]):
        return []
    sform = np.asarray(stored.get_sform(), np.float64)
    if not (np.isfinite(sform).all() and np.linalg.det(sform)):
        return []  # told of the affine, which it is
    try:
        qform = np.asarray(stored.get_qform(), np.float64)
        turn = np.linalg.solve(sform, qform)
        orientation = nib.io_orientation(turn)
    except (HeaderDataError, ValueError, np.linalg.LinAlgError):
        turn = np.full((4, 4), np.nan)
    if not np.isfinite(turn).all() or np.isnan(orientation).any():
        return one(
            path,
            "has a qform that is no rotation with voxel sizes",
            "the place of its voxels twice, by sform and qform",
            "the sform is taken; write it over the qform, image.set_qform(image.get_sform())",
            "header-forms",
            "warning",
        )
    axes, other = ("".join(nib.aff2axcodes(form)) for form in (sform, qform))
    flipped = not np.array_equal(orientation, [[0, 1], [1, 1], [2, 1]])
    ends = [(0, max(0, length - 1)) for length in (*shape, 1, 1, 1)[:3]]
    corners = np.array([[*corner, 1] for corner in product(*ends)]).T
    gap = float(np.linalg.norm(((sform - qform) @ corners)[:3], axis=0).max())
    if not flipped and gap <= SHIFT * np.linalg.norm(sform[:3, :3], axis=0).min():
        return []
    write = "image.set_qform(image.get_sform(), 1) or image.set_sform(image.get_qform(), 1)"
    return one(
        path,
        f"lies in {axes} by its sform and in {other} by its qform, up to {gap:.3g} mm apart, and "
        + _PROGRAMS,
        "one place for each voxel",
        f"find out which is right and write it over the other with nibabel, {write}"
        if flipped
        else f"the sform is taken; if it is not right, correct the header with nibabel, {write}",
        "header-forms",
        "error" if flipped else "warning",
    )


def _sizes(path: Path, stored: Any, affine: np.ndarray) -> list[Problem]:
    """Sizes in millimetres, and the same ones in pixdim and affine."""
    found = []
    code = int(stored["xyzt_units"]) & 7
    unit = UNITS.get(code, f"a unit that does not exist ({code})")
    sizes = np.linalg.norm(affine[:3, :3], axis=0)
    shown = " x ".join(f"{size:.3g}" for size in sizes)
    if unit != "mm":
        found += one(
            path,
            f"gives its lengths in {unit}, and its voxels are {shown}",
            "lengths in mm",
            "they are taken as mm; write image.header.set_xyzt_units('mm') if they are",
            "header-sizes",
            "warning",
        )
    pixdim = np.abs(np.asarray(stored["pixdim"][1:4], np.float64))
    # With both forms they are compared as such.
    if not stored["qform_code"] and not np.allclose(pixdim, sizes, rtol=STRETCH, atol=0):
        found += one(
            path,
            f"has voxels of {shown} mm by its sform, and of "
            f"{' x '.join(f'{size:.3g}' for size in pixdim)} mm by its pixdim",
            "one size",
            "the sform is taken; if the pixdim is right, scale the columns of the affine to it",
            "header-sizes",
            "warning",
        )
    return found
