"""Structures of one side of the head that the label table pairs with none of the other."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from scipy.spatial.distance import cdist

from neoseg.cohort import Cohort, Problem
from neoseg.findings.command_line import override
from neoseg.findings.problems import shorten
from neoseg.labels import Convention
from neoseg.store.checks import some_of
from neoseg.store.examined import Examined

SCANS = 5
"""Scans that are looked at, two at least."""

ONE_SIDED = 0.95
"""Share of a structure's voxels on one side of the middle of all structures."""

NEAR, ALIKE = 0.2, 2.0
"""Of partners: the distance of one from the other's mirror image, as a share of the extent of all
structures, and how much larger one may be."""


def unpaired_sides(cohort: Cohort, examined: Sequence[Examined]) -> list[Problem]:
    """Warn of structures that look like left and right of one another and are no mirror pair.

    Patches are mirrored at random, and the labels of pairs exchanged: where the table does not name
    a pair, its left and right are learnt as one mixture.
    """
    convention = cohort.convention
    space = convention.space
    alone = [
        leaf
        for leaf, partner in enumerate(space.mirror)
        if leaf == partner and leaf != space.background
    ]
    labelled = [item for item in examined if item.entry is not None and any(item.voxels)]
    if len(alone) < 2 or len(labelled) < 2:
        return []
    some = labelled[:: math.ceil(len(labelled) / SCANS)]
    places = np.array([_places(item, convention, alone) for item in some])  # [scans, leaves, 5]
    shown = ~np.isnan(places[..., 0])
    sides = np.where(shown, np.sign(places[..., 0]), 0).sum(axis=0)
    sides[shown.sum(axis=0) < 2] = 0
    sure = np.where(shown, np.abs(places[..., 0]), 1).min(axis=0) >= 2 * ONE_SIDED - 1
    steady = np.abs(sides) == shown.sum(axis=0)
    left, right = (np.flatnonzero(sure & steady & (sign * sides > 0)) for sign in (-1, 1))
    mean = np.nansum(places, axis=0) / np.maximum(shown.sum(axis=0), 1)[:, None]
    pairs = _pairs(mean, left, right) if len(left) and len(right) else []
    if not pairs:
        return []
    names = [[space.leaves[alone[one]] for one in pair] for pair in pairs]
    line = ", ".join(f"[{one.index}, {other.index}]" for one, other in names)
    return [
        Problem(
            f"label table '{space.name}'",
            "does not say which structures are left and right of one another, as these look: "
            + shorten((f"{one.abbreviation} and {other.abbreviation}" for one, other in names), 6),
            "mirror pairs, whose labels are exchanged where a patch is mirrored",
            f"add `mirror: [{line}]` to the table, or set {override('augment.spatial.flip', 0)}",
            "unpaired-sides",
            severity="warning",
        )
    ]


def _places(item: Examined, convention: Convention, leaves: Sequence[int]) -> np.ndarray:
    """Return of each leaf: share on the right less that on the left, centre, share of voxels.

    `[leaves, 5]`; centres are in extents of all structures, x from their middle. NaN for those
    that the scan does not show on their own.
    """
    assert item.entry is not None
    sets = item.scan.meaning(convention).sets
    codes = some_of(item.entry.read_codes()).astype(np.intp)
    along = [  # voxels of each code in each plane across an axis
        np.bincount((codes * n + place).ravel(), minlength=len(sets) * n).reshape(-1, n)
        for n, place in zip(codes.shape, np.ogrid[tuple(map(slice, codes.shape))], strict=True)
    ]
    drawn = [convention.space.background not in known for known in sets]
    x = np.flatnonzero(along[0][drawn].sum(axis=0))
    found = np.full((len(leaves), 5), np.nan)
    if not len(x):
        return found
    middle, extent, whole = (x[0] + x[-1]) / 2, x[-1] - x[0] + 1, along[0][drawn].sum()
    for row, leaf in enumerate(leaves):
        own = [code for code, known in enumerate(sets) if known == frozenset([leaf])]
        planes = [counts[own].sum(axis=0) for counts in along]
        if count := planes[0].sum():
            centre = np.array([np.arange(len(n)) @ n for n in planes]) / count
            right = (np.sign(np.arange(codes.shape[0]) - middle) * planes[0]).sum()
            found[row] = [right / count, *(centre - [middle, 0, 0]) / extent, count / whole]
    return found


def _pairs(places: np.ndarray, left: np.ndarray, right: np.ndarray) -> list[tuple[int, int]]:
    """Return the pairs of which each is nearest to the other's mirror image, and alike in size."""
    far = cdist(places[left, 1:4] * [-1, 1, 1], places[right, 1:4])
    size = np.abs(np.log(places[left, 4][:, None] / places[right, 4]))
    far = np.where(size <= np.log(ALIKE), far, np.inf)
    best = far.argmin(axis=1)
    return [
        (int(one), int(right[other]))
        for number, (one, other) in enumerate(zip(left, best, strict=True))
        if far[number, other] <= NEAR and far[:, other].argmin() == number
    ]
