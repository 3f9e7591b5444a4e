"""Checks of where the structures of a label file lie."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from scipy.ndimage import find_objects

from neoseg.cohort import Scan
from neoseg.findings.problems import Problem, shorten, warning
from neoseg.labels import Convention
from neoseg.labels.protocol import PLANE_AXIS
from neoseg.store.checks import one
from neoseg.store.settings import PrepareSettings

Box = Sequence[tuple[int, int]]
"""A (start, stop) pair per axis."""

MIN_RUNS, MAX_RUN = 4, 3
"""Labels drawn on some planes only: least number of separate runs of planes, most planes a run."""


def measured(codes: np.ndarray, crop: Box | None, count: int) -> dict[str, Any]:
    """Return where the stored codes of a file lie, for `check_extent`, whatever they mean.

    Args:
        codes: on the canonical grid.
        crop: what is kept of the image; None if it cannot be read.
        count: number of codes.
    """
    boxes = find_objects(codes.astype(np.int32) + 1, max_label=count)
    planes = [None if b is None else _sparse_axis(codes[b] == c) for c, b in enumerate(boxes)]
    box = tuple(slice(low, high) for low, high in crop or ())
    return {"planes": planes, "inside": np.bincount(codes[box].ravel(), minlength=count).tolist()}


def check_extent(
    scan: Scan, record: Mapping[str, Any], settings: PrepareSettings, meaning: Convention
) -> list[Problem]:
    """Return the findings about where structures lie; what codes mean may be corrected later.

    Args:
        scan: has a label file.
        record: holds `voxels`, the number of voxels of each code, and what `measured` returns.
        settings: of the preparation.
        meaning: of the codes.
    """
    assert scan.label is not None
    background = meaning.space.background
    structures = [code for code, leaves in enumerate(meaning.sets) if background not in leaves]
    total, inside = (sum(record[k][code] for code in structures) for k in ("voxels", "inside"))
    planes = {meaning.name(c): p for c in structures if (p := record["planes"][c]) is not None}
    return [*_check_kept(scan.label, total, inside, settings), *_check_planes(scan, planes)]


def _check_kept(path: Path, total: int, inside: int, settings: PrepareSettings) -> list[Problem]:
    """Warn of structures outside the crop."""
    if inside == total:
        return []
    around = "the brain mask" if settings.foreground == "mask" else "the bright part of the image"
    return one(
        path,
        f"has {total - inside} of {total} voxels of structures outside of what is kept of the "
        "image",
        f"all of them within {settings.crop_margin:g} mm of {around} (store.crop_margin)",
        "neither trained on nor found there; set store.crop_margin=null to keep everything, or "
        "look whether labels and image belong together",
        "cropped-labels",
        severity="warning",
    )


def _check_planes(scan: Scan, planes: Mapping[str, Sequence[int]]) -> list[Problem]:
    """Warn of structures on separate planes of one axis only, as if those between were not drawn.

    They are no finding if the annotation is said to be on planes of that axis, and an error if on
    those of another. Structures that lie apart leave planes empty as well, but few, or along
    several axes.
    """
    found: dict[int, list[tuple[int, int, str]]] = {}
    for name, (axis, shown, empty) in planes.items():
        found.setdefault(axis, []).append((shown, empty, name))
    if not found:
        return []
    axis = max(found, key=lambda number: len(found[number]))
    shown, empty, _ = max(found[axis])
    names = shorten(name for *_, name in found[axis])
    plane = next(name for name, number in PLANE_AXIS.items() if number == axis)
    problem = warning(
        str(scan.label),
        f"shows {names} on {shown} {plane} planes, and on none of the {empty} between them",
        "structures on neighbouring planes",
        "the planes between count as background; where they were not drawn, set "
        f"annotation.protocol.name=drawn 'annotation.protocol.slices={{plane: {plane}}}' "
        "annotation.protocol.describes=true, with 'annotation.full=[...]' for who is drawn on all",
        "sparse-planes",
    )
    slices = scan.described.slices if scan.described else None
    if slices is None or slices.plane == plane:
        return [] if slices else [problem]
    contradicts = f"is said to be drawn on {slices.plane} planes, and {problem.found}"
    return [replace(problem, found=contradicts, severity="error", scans=(scan.id,))]


def _sparse_axis(mask: np.ndarray) -> tuple[int, int, int] | None:
    """Return the axis along which a structure has gaps between its planes, and these numbers.

    They are the planes with the structure and those without. None if there are few, or also along
    other axes, or if it lies on few planes of another axis, as what is drawn there does.
    """
    sparse = []
    for axis in range(3):
        others = tuple(other for other in range(3) if other != axis)
        shown = np.flatnonzero(mask.any(axis=others))
        runs = 1 + np.count_nonzero(np.diff(shown) > 1)
        empty = mask.shape[axis] - len(shown)
        if runs >= MIN_RUNS and len(shown) <= MAX_RUN * runs and empty >= len(shown) - 1:
            sparse.append((axis, len(shown), empty))
        elif runs > 2 or len(shown) <= MAX_RUN * runs:
            return None
    return sparse[0] if len(sparse) == 1 else None
