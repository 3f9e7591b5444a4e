"""Find left and right structures that are not declared as mirror pairs, or exchanged in scans."""

import math
import re
from collections import defaultdict
from collections.abc import Iterator, Sequence

import numpy as np
from scipy.spatial.distance import cdist

from neoseg.cohort import Cohort, Problem
from neoseg.findings.command_line import override
from neoseg.findings.problems import shorten, warning
from neoseg.labels import Convention
from neoseg.store.brightness import sampled
from neoseg.store.examined import Examined

MAX_SCANS = 5
"""Maximum number of scans examined; at least two are needed."""

MIN_SIDE_SHARE = 0.95
"""Minimum share of a structure's voxels on one side of the midplane of all structures."""

MAX_DISTANCE, MAX_SIZE_RATIO = 0.2, 2.0
"""Limits for a pair: distance between one and the mirror image of the other, as a share of the
extent of all structures along x, and ratio of their sizes.
"""


MIN_SHIFT = 0.1
"""Least distance of the two sides of a pair along x, as a share of the extent of all structures."""

_LEFT, _RIGHT = (
    re.compile(rf"(?i)(?<![a-z])({words})(?![a-z])") for words in ("left|lh", "right|rh")
)


def exchanged_sides(cohort: Cohort, examined: Sequence[Examined]) -> Iterator[Problem]:
    """Warn of scans in which the structures of mirror pairs lie the other way round.

    That is otherwise than in most scans or, where the names of most pairs tell left from right,
    otherwise than these say.
    """
    space = cohort.convention.space
    pairs = [(leaf, partner) for leaf, partner in enumerate(space.mirror) if leaf < partner]
    labelled = [item for item in examined if item.entry is not None and any(item.voxels)]
    if not pairs or not labelled:
        return
    # [scans, pairs]: the sign of x of the first minus x of the second, 0 where it is not known
    signs = np.array([_order(item, cohort.convention, pairs) for item in labelled])
    named = np.array([_named_order([space.leaves[leaf].name for leaf in pair]) for pair in pairs])
    usual = np.sign(signs.sum(axis=0))
    for choice in (named, signs[0]):  # where as many scans are one way as the other
        usual = np.where(usual == 0, choice, usual)
    groups = defaultdict[tuple[str, ...], list[str]](list)
    for pair, column, most in zip(pairs, signs.T, usual, strict=True):
        other = [item.scan.id for item, sign in zip(labelled, column, strict=True) if sign == -most]
        if other and most:
            first, second = (space.leaves[leaf].abbreviation for leaf in pair)
            groups[tuple(other)].append(f"{first} and {second}")
    for scans, names in groups.items():
        yield _exchanged(cohort, f"{len(scans)} of {len(labelled)} scans: {shorten(scans)}", names)
    if (usual * named).sum() < 0:
        yield _exchanged(cohort, "most scans, by the names of the table", [])


def _exchanged(cohort: Cohort, where: str, names: Sequence[str]) -> Problem:
    what = shorten(names, 4) or "left and right structures"
    return warning(
        f"cohort '{cohort.name}'",
        f"{what} lie the other way round in {where}",
        "each name on its own side of the head",
        "correct the files: the labels may have the integers of another atlas, or image and labels "
        "may be mirrored; or name the scans in annotation.file, with a protocol {describes: true, "
        "convention: {INTEGER: NAME, ...}} that exchanges the names",
        "exchanged-sides",
    )


def _order(item: Examined, convention: Convention, pairs: Sequence[tuple[int, int]]) -> list[float]:
    """Return for each pair on which side of the second its first lies: -1 left, 1 right, or 0."""
    assert item.entry is not None
    sets = item.scan.meaning(convention).sets
    codes = sampled(item.entry.read_codes())[:, ::2, ::2].astype(np.intp)
    planes, width = _planes(codes, len(sets), axis=0), codes.shape[0]
    shown = [convention.space.background not in known for known in sets]
    x = np.flatnonzero(planes[shown].sum(axis=0))
    order = []
    for pair in pairs:
        sides = [
            planes[[known == frozenset([leaf]) for known in sets]].sum(axis=0) for leaf in pair
        ]
        first, second = (np.arange(width) @ n / n.sum() if n.any() else np.nan for n in sides)
        shift = first - second
        is_clear = abs(shift) >= MIN_SHIFT * (x[-1] - x[0] + 1) if len(x) else False
        order.append(float(np.sign(shift)) if is_clear else 0.0)
    return order


def _named_order(names: Sequence[str]) -> int:
    """Return -1 if the first of two names is left and the second right, 1 if vice versa, or 0."""
    left, right = ([bool(word.search(name)) for name in names] for word in (_LEFT, _RIGHT))
    if (left, right) == ([True, False], [False, True]):
        return -1
    return int((left, right) == ([False, True], [True, False]))


def unpaired_sides(cohort: Cohort, examined: Sequence[Examined]) -> Iterator[Problem]:
    """Warn of structures that look like a left-right pair but are not declared as one.

    Patches are mirrored at random, and the labels of mirror pairs exchanged. For an undeclared
    pair, the network would learn a mixture of left and right.
    """
    convention = cohort.convention
    space = convention.space
    unpaired = [
        leaf
        for leaf, partner in enumerate(space.mirror)
        if leaf == partner and leaf != space.background
    ]
    labelled = [item for item in examined if item.entry is not None and any(item.voxels)]
    if len(unpaired) < 2 or len(labelled) < 2:
        return
    sample = labelled[:: math.ceil(len(labelled) / MAX_SCANS)]
    # [scans, leaves, 5]
    features = np.array([_side_features(item, convention, unpaired) for item in sample])
    visible = ~np.isnan(features[..., 0])
    sides = np.where(visible, np.sign(features[..., 0]), 0).sum(axis=0)
    sides[visible.sum(axis=0) < 2] = 0
    one_sided = np.where(visible, np.abs(features[..., 0]), 1).min(axis=0) >= 2 * MIN_SIDE_SHARE - 1
    consistent = np.abs(sides) == visible.sum(axis=0)
    left, right = (np.flatnonzero(one_sided & consistent & (sign * sides > 0)) for sign in (-1, 1))
    mean = np.nansum(features, axis=0) / np.maximum(visible.sum(axis=0), 1)[:, None]
    pairs = _mirror_pairs(mean, left, right) if len(left) and len(right) else []
    if not pairs:
        return
    leaf_pairs = [[space.leaves[unpaired[position]] for position in pair] for pair in pairs]
    entries = ", ".join(f"[{a.index}, {b.index}]" for a, b in leaf_pairs)
    yield warning(
        f"label table '{space.name}'",
        "does not say which structures are left and right of one another, as these look: "
        + shorten((f"{a.abbreviation} and {b.abbreviation}" for a, b in leaf_pairs), 6),
        "mirror pairs, whose labels are exchanged where a patch is mirrored",
        f"add `mirror: [{entries}]` to the table, or set {override('augment.spatial.flip', 0)}",
        "unpaired-sides",
    )


def _side_features(item: Examined, convention: Convention, leaves: Sequence[int]) -> np.ndarray:
    """Return `[leaves, 5]`: share on the right minus left, centre (x, y, z), share of foreground.

    Centres are divided by the extent of all structures along x; x is relative to their middle.
    Rows are NaN for leaves that the scan does not show on their own.
    """
    assert item.entry is not None
    sets = item.scan.meaning(convention).sets
    codes = sampled(item.entry.read_codes()).astype(np.intp)
    plane_counts = [_planes(codes, len(sets), axis) for axis in range(3)]
    foreground = [convention.space.background not in known for known in sets]
    x = np.flatnonzero(plane_counts[0][foreground].sum(axis=0))
    features = np.full((len(leaves), 5), np.nan)
    if not len(x):
        return features
    middle, whole = (x[0] + x[-1]) / 2, plane_counts[0][foreground].sum()
    extent = (x[-1] - x[0] + 1) * item.entry.geometry.spacing[0]
    for row, leaf in enumerate(leaves):
        leaf_codes = [code for code, known in enumerate(sets) if known == frozenset([leaf])]
        planes = [counts[leaf_codes].sum(axis=0) for counts in plane_counts]
        if count := planes[0].sum():
            centre = np.array([np.arange(len(n)) @ n for n in planes]) / count
            right = (np.sign(np.arange(codes.shape[0]) - middle) * planes[0]).sum()
            centre = (centre - [middle, 0, 0]) * item.entry.geometry.spacing
            features[row] = [right / count, *centre / extent, count / whole]
    return features


def _planes(codes: np.ndarray, count: int, axis: int) -> np.ndarray:
    """Return the number of voxels of each of `count` codes in each plane across an axis."""
    n = codes.shape[axis]
    place = np.expand_dims(np.arange(n), [other for other in range(3) if other != axis])
    return np.bincount((codes * n + place).ravel(), minlength=count * n).reshape(-1, n)


def _mirror_pairs(
    features: np.ndarray, left: np.ndarray, right: np.ndarray
) -> list[tuple[int, int]]:
    """Return pairs (left, right) of mutual nearest neighbours after mirroring, of similar size."""
    distance = cdist(features[left, 1:4] * [-1, 1, 1], features[right, 1:4])
    log_ratio = np.abs(np.log(features[left, 4][:, None] / features[right, 4]))
    distance = np.where(log_ratio <= np.log(MAX_SIZE_RATIO), distance, np.inf)
    nearest = distance.argmin(axis=1)
    return [
        (int(leaf), int(right[match]))
        for row, (leaf, match) in enumerate(zip(left, nearest, strict=True))
        if distance[row, match] <= MAX_DISTANCE and distance[:, match].argmin() == row
    ]
