"""What can be wrong with the numbers of a label file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from neoseg.cohort import Scan
from neoseg.findings.command_line import override
from neoseg.findings.problems import Problem, shorten
from neoseg.labels import Convention
from neoseg.labels.convention import ROUNDING
from neoseg.store.checks import one
from neoseg.store.nifti import load_image
from neoseg.store.preprocess import PrepareSettings
from neoseg.store.volume import Volume

Box = Sequence[tuple[int, int]]
"""A (start, stop) pair per axis."""

MOST_NEW = 8
"""Values outside a convention for which the line is written down that takes them in."""


def check_values(path: Path, labels: Volume, convention: Convention) -> list[Problem]:
    """Whole numbers, each of the convention. Slow: for files that could not be encoded."""
    found = np.unique(labels.data)
    parts = found[np.abs(np.rint(found) - found) > ROUNDING]
    if len(parts) and labels.scaling is not None:
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
            f"holds {float(parts[0]):g}, since the scaling of its header (scl_slope {slope:g}, "
            f"scl_inter {shift:g}) makes fractions of whole numbers{lost}",
            "whole label numbers",
            "export the labels again from their source, as integers without scaling" + action,
            "label-scaling",
        )
    if len(parts):
        return one(
            path,
            f"holds {float(parts[0])!r}",
            "whole label numbers",
            "it may be an image, probabilities, or a label map resampled with interpolation; "
            "resample with nearest neighbour",
            "label-fractions",
        )
    whole = np.rint(labels.data)
    odd = np.setdiff1d(whole, convention.values)
    action = "correct the file"
    if len(odd) <= MOST_NEW:
        values = convention.written(int(value) for value in odd)
        line = override("cohort.convention", values)
        action += f", or say what they mean (null: not annotated), {line}"
    return one(
        path,
        f"holds label values outside the table '{convention.space.name}': "
        f"{shorten(int(value) for value in odd)} ({int(np.isin(whole, odd).sum())} voxels)",
        shorten(convention.values, 12),
        action,
        "label-values",
    )


def check_exactness(path: Path, labels: Volume) -> list[Problem]:
    """Label numbers as they are stored: neither rounded nor scaled."""
    found = []
    if labels.scaling is not None:
        slope, shift = labels.scaling
        found += one(
            path,
            f"has a header that scales its numbers (scl_slope {slope:g}, scl_inter {shift:g})",
            "label numbers as they are",
            "the scaled numbers are taken; export it without scaling if they are not the labels",
            "label-scaling",
            "warning",
        )
    if labels.data.dtype.kind == "f" and (off := np.abs(labels.data - np.rint(labels.data)).max()):
        found += one(
            path,
            f"holds numbers that are up to {off:.2g} from whole ones",
            "the numbers of a table",
            "they are rounded",
            "label-rounding",
            "warning",
        )
    return found


OF_CONTENT = ("untold-labels", "empty-labels")
"""Kinds of what `check_content` finds."""


def check_content(scan: Scan, voxels: np.ndarray, convention: Convention) -> list[Problem]:
    """Labels that tell of something; `voxels` counts them by stored code.

    Nothing but background is what a person without lesions has: where somebody named the scan as
    fully annotated, it is believed. Not kept with an entry: whoever corrects what a value means has
    the same values.
    """
    path, space, convention = scan.label, convention.space, scan.meaning(convention)
    assert path is not None
    believed = scan.annotation is not None and scan.annotation.stream == "full"
    shown = {convention.sets[code] for code in np.flatnonzero(voxels)}
    if shown == {space.everything}:
        return one(
            path,
            "says 'not annotated' everywhere",
            "some structures",
            "the scan teaches nothing; drop the file to count it as unlabelled",
            "untold-labels",
            severity="warning",
        )
    if shown <= {frozenset([space.background]), space.everything} and not believed:
        value = space.leaves[space.background].index
        return one(
            path,
            f"shows no structure, only the background ({value})",
            "a segmentation",
            "drop the file, or the scan; or, if there is nothing to be found in this person, name "
            "the scan as full in annotation.file or annotation.full",
            "empty-labels",
        )
    return []


def check_kept(
    path: Path, codes: np.ndarray, crop: Box, settings: PrepareSettings, meaning: Convention
) -> list[Problem]:
    """No structure outside of what is kept; `codes` are stored codes on the canonical grid."""
    clear = meaning.space.background
    structures = np.array([clear not in leaves for leaves in meaning.sets])[codes]
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


def check_described(scan: Scan, voxels: np.ndarray, convention: Convention) -> list[Problem]:
    """No more in a label file than the protocol that describes it allows; otherwise as above."""
    told, meaning = scan.described, scan.meaning(convention)
    if told is None or scan.label is None:
        return []
    found = [
        f"{voxels[code]} voxels of {meaning.space.plain_name(meaning.sets[code])}"
        f" ({meaning.values[code]})"
        for code in np.flatnonzero(voxels)
        if told.denies(meaning.sets[code])
    ]
    if not found:
        return []
    return one(
        scan.label,
        f"holds {shorten(found)}, and its annotation is '{told.name}'",
        "structures that the protocol neither merges nor calls missing",
        "correct the annotation of the scan, the protocol or the file; or, if the protocol is to "
        "hide them, leave out describes",
        "contradicted-annotation",
    )
