"""Checks of the values of a label file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from scipy.ndimage import find_objects

from neoseg.cohort import Scan
from neoseg.findings.command_line import override
from neoseg.findings.problems import Problem, shorten
from neoseg.labels import Convention
from neoseg.labels.convention import ROUNDING
from neoseg.labels.protocol import PLANE_AXIS
from neoseg.store.checks import one
from neoseg.store.nifti import load_image
from neoseg.store.preprocess import PrepareSettings
from neoseg.store.volume import Volume

Box = Sequence[tuple[int, int]]
"""A (start, stop) pair per axis."""

MAX_SPELLED_OUT = 8
"""Largest number of unknown values for which a message spells out the configuration line."""


def check_values(path: Path, labels: Volume, convention: Convention) -> list[Problem]:
    """Check that values are integers of the convention; slow, for files that failed to encode."""
    occurring = np.unique(labels.data)
    fractions = occurring[np.abs(np.rint(occurring) - occurring) > ROUNDING]
    if len(fractions) and labels.scaling is not None:
        slope, shift = labels.scaling
        raw = np.unique(load_image(path)[0].dataobj.get_unscaled())
        lost, action = ", and the raw values lost the numbers", ""
        if np.isin(raw, convention.values).all():
            lost = ""
            action = (
                f"; or, if its raw values ({shorten(map(int, raw))}) are the labels, save "
                "nibabel.Nifti1Image(image.dataobj.get_unscaled(), image.affine) in its place"
            )
        return one(
            path,
            f"holds {float(fractions[0]):g}, since the scaling of its header (scl_slope {slope:g}, "
            f"scl_inter {shift:g}) makes fractions of whole numbers{lost}",
            "whole label numbers",
            "export the labels again from their source, as integers without scaling" + action,
            "label-scaling",
        )
    if len(fractions):
        return one(
            path,
            f"holds {float(fractions[0])!r}",
            "whole label numbers",
            "it may be an image, probabilities, or a label map resampled with interpolation; "
            "resample with nearest neighbour",
            "label-fractions",
        )
    rounded = np.rint(labels.data)
    new = np.setdiff1d(rounded, convention.values)
    action = "correct the file"
    if len(new) <= MAX_SPELLED_OUT:
        values = convention.written({int(value): "null" for value in new})
        line = override("cohort.convention", values)
        action += f", or say what they mean (null: not annotated), {line}"
    return one(
        path,
        f"holds label values outside the table '{convention.space.name}': "
        f"{shorten(int(value) for value in new)} ({int(np.isin(rounded, new).sum())} voxels)",
        shorten(convention.values, 12),
        action,
        "label-values",
    )


def check_exactness(path: Path, labels: Volume) -> list[Problem]:
    """Warn if label values are rounded, or scaled by the header."""
    problems = []
    if labels.scaling is not None:
        slope, shift = labels.scaling
        problems += one(
            path,
            f"has a header that scales its numbers (scl_slope {slope:g}, scl_inter {shift:g})",
            "label numbers as they are",
            "the scaled numbers are taken; export it without scaling if they are not the labels",
            "label-scaling",
            "warning",
        )
    if labels.data.dtype.kind == "f" and (gap := np.abs(labels.data - np.rint(labels.data)).max()):
        problems += one(
            path,
            f"holds numbers that are up to {gap:.2g} from whole ones",
            "the numbers of a table",
            "they are rounded",
            "label-rounding",
            "warning",
        )
    return problems


MIN_RUNS, MAX_RUN = 4, 3
"""Labels drawn on some planes only: least number of separate runs of planes, most planes a run."""

OF_CONTENT = ("untold-labels", "empty-labels")
"""Kinds of the findings of `check_content`."""


def check_content(scan: Scan, voxels: np.ndarray, convention: Convention) -> list[Problem]:
    """Check that labels contain information; `voxels` are voxel counts by stored code.

    A person without lesions has nothing but background, so this is accepted if the scan was
    declared fully annotated, or named by a protocol that describes what was looked for. The
    findings are not stored with an entry, since a corrected meaning of the values changes them
    without changing the file.
    """
    path, space, convention = scan.label, convention.space, scan.meaning(convention)
    assert path is not None
    believed = scan.described is not None or (
        scan.annotation is not None and scan.annotation.stream == "full"
    )
    occurring = {convention.sets[code] for code in np.flatnonzero(voxels)}
    if occurring == {space.everything}:
        return one(
            path,
            "says 'not annotated' everywhere",
            "some structures",
            "the scan teaches nothing; drop the file to count it as unlabelled",
            "untold-labels",
            severity="warning",
        )
    if occurring <= {frozenset([space.background]), space.everything} and not believed:
        value = space.leaves[space.background].index
        return one(
            path,
            f"shows no structure, only the background ({value})",
            "a segmentation",
            "drop the file, or the scan; or, if there is nothing to be found in this person, name "
            "the scan in annotation.file: as full, or by the protocol of what was looked for",
            "empty-labels",
        )
    return []


def check_kept(
    path: Path, codes: np.ndarray, crop: Box, settings: PrepareSettings, meaning: Convention
) -> list[Problem]:
    """Warn of structures outside the crop; `codes` are stored codes on the canonical grid."""
    background = meaning.space.background
    structures = np.array([background not in leaves for leaves in meaning.sets])[codes]
    total = int(np.count_nonzero(structures))
    inside = structures[tuple(slice(low, high) for low, high in crop)]
    lost = total - int(np.count_nonzero(inside))
    if not lost:
        return []
    around = "the brain mask" if settings.foreground == "mask" else "the bright part of the image"
    return one(
        path,
        f"has {lost} of {total} voxels of structures outside of what is kept of the image",
        f"all of them within {settings.crop_margin:g} mm of {around} (store.crop_margin)",
        "neither trained on nor found there; set store.crop_margin=null to keep everything, or "
        "look whether labels and image belong together",
        "cropped-labels",
        severity="warning",
    )


def check_planes(path: Path, codes: np.ndarray, meaning: Convention) -> list[Problem]:
    """Warn of structures on separate planes of one axis only, as if those between were not drawn.

    Structures that lie apart leave planes empty as well, but few, or along several axes.
    `codes` are stored codes on the canonical grid.
    """
    background, found = meaning.space.background, dict[int, list[tuple[int, int, str]]]()
    for code, box in enumerate(
        find_objects(codes.astype(np.int32) + 1, max_label=len(meaning.sets))
    ):
        if box is None or background in meaning.sets[code]:
            continue
        planes = _sparse_axis(codes[box] == code)
        if planes is not None:
            axis, shown, empty = planes
            found.setdefault(axis, []).append((shown, empty, meaning.name(code)))
    if not found:
        return []
    axis = max(found, key=lambda number: len(found[number]))
    shown, empty, _ = max(found[axis])
    names = shorten(name for *_, name in found[axis])
    plane = next(name for name, number in PLANE_AXIS.items() if number == axis)
    return one(
        path,
        f"shows {names} on {shown} {plane} planes, and on none of the {empty} between them",
        "structures on neighbouring planes",
        "the planes between count as background; where they were not drawn, set "
        f"annotation.protocol.name=drawn 'annotation.protocol.slices={{plane: {plane}}}' "
        "annotation.protocol.describes=true, with 'annotation.full=[...]' for who is drawn on all",
        "sparse-planes",
        severity="warning",
    )


def _sparse_axis(mask: np.ndarray) -> tuple[int, int, int] | None:
    """Return the axis along which a structure has gaps between its planes, and these numbers.

    They are the planes with the structure and those without. None if there are few, or also along
    other axes.
    """
    sparse = []
    for axis in range(3):
        others = tuple(other for other in range(3) if other != axis)
        shown = np.flatnonzero(mask.any(axis=others))
        runs = 1 + np.count_nonzero(np.diff(shown) > 1)
        empty = mask.shape[axis] - len(shown)
        if runs >= MIN_RUNS and len(shown) <= MAX_RUN * runs and empty >= len(shown) - 1:
            sparse.append((axis, len(shown), empty))
        elif runs > 2:
            return None
    return sparse[0] if len(sparse) == 1 else None


def check_described(scan: Scan, voxels: np.ndarray, convention: Convention) -> list[Problem]:
    """Check that a label file holds only what the protocol describing it allows.

    `voxels` are voxel counts by stored code.
    """
    protocol, meaning = scan.described, scan.meaning(convention)
    if protocol is None or scan.label is None:
        return []
    contradictions = [
        f"{voxels[code]} voxels of {meaning.space.plain_name(meaning.sets[code])}"
        f" ({meaning.values[code]})"
        for code in np.flatnonzero(voxels)
        if protocol.denies(meaning.sets[code])
    ]
    if not contradictions:
        return []
    return one(
        scan.label,
        f"holds {shorten(contradictions)}, and its annotation is '{protocol.name}'",
        "structures that the protocol neither merges nor calls missing",
        "correct the annotation of the scan, the protocol or the file; or, if the protocol is to "
        "hide them, leave out describes",
        "contradicted-annotation",
    )
