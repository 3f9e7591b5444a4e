"""Faults of single structures: contradicted, not drawn, slices forgotten, islands."""

from collections.abc import Iterator

import numpy as np
from scipy import ndimage

from neoseg.audit.evidence import Evidence, deepest
from neoseg.audit.measure import Measure

ABSENT_SHARE = 0.05
"""Share of the predicted voxels up to which a structure counts as absent from the annotation."""

MIN_PLANE_SHARE = 0.5
"""Area above which the network contradicts an empty plane, as a share of the median area."""

MAX_ISLAND_SIZE, MIN_ISLAND_DISTANCE, MAX_ISLAND_SUPPORT = 0.1, 2.0, 0.2
"""Limits of an island: size as a share of the largest component, distance from that component in
voxels, and share of the island that the network confirms."""

_TOUCHING = np.ones((3, 3, 3), dtype=bool)


def of_structure(seen: Evidence, leaf: int) -> Iterator[Measure]:
    """Yield the measures of one structure, in the part of a scan around it.

    Voxels on which the annotation leaves the structure open never count against the annotation.
    """
    claimed, decided = seen.codes == leaf + 1, seen.leaves == leaf
    yield contradicted(seen, leaf, claimed, decided)
    yield not_drawn(seen, leaf, claimed, decided)
    if claimed.any():
        apart = islands(claimed, decided)
        yield island(seen, leaf, apart)
        yield slices_forgotten(seen, leaf, claimed & ~apart, decided & ~seen.allowed)


def contradicted(seen: Evidence, leaf: int, claimed: np.ndarray, decided: np.ndarray) -> Measure:
    """Measure confident contradictions as a share of the claimed plus the decided voxels."""
    excess, missing = claimed & seen.sure, decided & seen.sure
    total = int(claimed.sum()) + int(decided.sum())
    excess_n, missing_n = int(excess.sum()), int(missing.sum())
    place = deepest(excess if excess_n >= missing_n else missing)
    note = f"{excess_n * seen.voxel:.3g} ml too much, {missing_n * seen.voxel:.3g} ml too little"
    volume = (excess_n + missing_n) * seen.voxel
    return Measure(
        "contradiction",
        seen.names[leaf],
        (excess_n + missing_n) / max(total, 1),
        place,
        (leaf,),
        volume,
        note,
    )


def coarse(seen: Evidence) -> Iterator[Measure]:
    """Yield the contradictions of label sets of several leaves, by leaves outside the set."""
    for code in np.unique(seen.codes):
        inside = seen.codebook.rows[code]
        if code <= seen.codebook.space.num_leaves or inside.all():
            continue
        claimed = seen.codes == code
        excess = claimed & seen.sure
        volume = float(excess.sum()) * seen.voxel
        yield Measure(
            *("contradiction", seen.codebook.names[code], float(excess.sum() / claimed.sum())),
            deepest(excess),
            tuple(int(leaf) for leaf in np.flatnonzero(inside) if leaf != seen.background),
            volume,
            f"{volume:.3g} ml too much",
        )


def not_drawn(seen: Evidence, leaf: int, claimed: np.ndarray, decided: np.ndarray) -> Measure:
    """Measure the share of a structure, absent in the annotation, that the network is sure of."""
    missing, count = decided & seen.sure, int(decided.sum())
    absent = claimed.sum() <= ABSENT_SHARE * count
    share = float(missing.sum() / count) if count and absent else 0.0
    volume = count * seen.voxel
    note = f"absent, and the network sees {volume:.3g} ml"
    return Measure("not_drawn", seen.names[leaf], share, deepest(missing), (leaf,), volume, note)


def slices_forgotten(seen: Evidence, leaf: int, claimed: np.ndarray, denied: np.ndarray) -> Measure:
    """Count planes without the structure between planes with it, if the network predicts it there.

    The axis with the most such planes counts.
    """
    best, place = 0, deepest(claimed)
    volume = 0.0
    for axis in range(3):
        others = tuple(a for a in range(3) if a != axis)
        drawn, against = claimed.sum(axis=others), denied.sum(axis=others)
        decided = (seen.leaves == leaf).sum(axis=others)
        inside = np.flatnonzero(drawn)
        between = np.zeros(len(drawn), dtype=bool)
        between[inside[0] : inside[-1]] = True
        median_area = float(np.median(decided[drawn > 0]))
        forgotten = (
            between & (drawn == 0) & (against > MIN_PLANE_SHARE * median_area) & (against > 0)
        )
        if forgotten.sum() > best:
            best = int(forgotten.sum())
            plane = np.flatnonzero(forgotten)[best // 2]
            layer = [slice(None)] * 3
            layer[axis] = slice(plane, plane + 1)
            voxel = list(deepest(denied[tuple(layer)]))
            voxel[axis] = int(plane)
            place = (voxel[0], voxel[1], voxel[2])
            volume = float(against[forgotten].sum()) * seen.voxel
    note = f"empty in {best} planes between others, where the network sees {volume:.3g} ml"
    return Measure("slices", seen.names[leaf], float(best), place, (leaf,), volume, note)


def islands(claimed: np.ndarray, decided: np.ndarray) -> np.ndarray:
    """Return the mask of small components far from the largest one and not seen by the network."""
    parts, number = ndimage.label(claimed, _TOUCHING)
    sizes = np.bincount(parts.ravel())[1:]
    mask = np.zeros_like(claimed)
    if number > 1:
        main = int(sizes.argmax()) + 1
        distance = ndimage.distance_transform_edt(parts != main)
        gap = ndimage.minimum(distance, parts, np.arange(1, number + 1))
        support = ndimage.mean(decided, parts, np.arange(1, number + 1))
        for part in np.flatnonzero(
            (gap > MIN_ISLAND_DISTANCE)
            & (support < MAX_ISLAND_SUPPORT)
            & (sizes < MAX_ISLAND_SIZE * sizes.max())
        ):
            mask |= parts == part + 1
    return mask


def island(seen: Evidence, leaf: int, apart: np.ndarray) -> Measure:
    """Count the voxels of all islands."""
    count = int(apart.sum())
    note = f"{count} voxels apart from the rest, where the network sees nothing of it"
    volume = count * seen.voxel
    return Measure("island", seen.names[leaf], count, deepest(apart), (leaf,), volume, note)
