"""Checks of the values of a label file."""

from pathlib import Path

import numpy as np

from neoseg.cohort import Scan
from neoseg.findings.command_line import override
from neoseg.findings.problems import Problem, shorten
from neoseg.labels import Convention
from neoseg.labels.convention import ROUNDING
from neoseg.store.checks import one
from neoseg.store.nifti import load_image
from neoseg.store.volume import Volume

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
        action += (
            f", or say what they mean (null: not annotated), if all others mean what this line "
            f"says: {line}"
        )
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
    if unlisted := _unlisted(scan, voxels, convention):
        return unlisted
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


def _unlisted(scan: Scan, voxels: np.ndarray, convention: Convention) -> list[Problem]:
    """Check that a file holds no integer that only the tables of other files name."""
    described = scan.annotation is not None and scan.annotation.convention is not None
    if scan.listed is None or described or scan.own_convention is not None:
        return []
    assert scan.label is not None
    texts = [
        f"{convention.values[code]} ({voxels[code]} voxels; {convention.name(code)} by the others)"
        for code in np.flatnonzero(voxels).tolist()
        if convention.values[code] not in scan.listed
    ]
    if not texts:
        return []
    return one(
        scan.label,
        f"holds {shorten(texts, 6)}, which its own table of names (dseg.tsv) lacks, unlike those "
        "of other label files",
        "integers of its table",
        "complete that table, or say with cohort.convention what the integers mean in all files",
        "label-values",
    )


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
