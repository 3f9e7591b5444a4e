"""Faults of single structures: contradicted, not drawn, slices forgotten, islands."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from scipy import ndimage

from neoseg.audit.evidence import Evidence, deepest
from neoseg.audit.measure import Measure

ABSENT = 0.05
"""Share of what the network sees below which a structure counts as absent from an annotation."""

SOLID = 0.5
"""Share of the usual area of a plane from which the network sees a structure on it."""

SMALL, FAR, SEEN = 0.1, 2.0, 0.2
"""Of an island: its largest share of the main part, its least distance from it in voxels, and the
largest share of it that the network sees, too."""

_TOUCHING = np.ones((3, 3, 3), dtype=bool)


def of_structure(seen: Evidence, leaf: int) -> Iterator[Measure]:
    """Yield what is measured of one structure, in the part of a scan about it.

    Voxels whose annotation leaves the structure open never count against the annotation.
    """
    claimed, decided = seen.codes == leaf + 1, seen.leaves == leaf
    yield contradicted(seen, leaf, claimed, decided)
    yield not_drawn(seen, leaf, claimed, decided)
    if claimed.any():
        apart = islands(claimed, decided)
        yield island(seen, leaf, apart)
        yield slices_forgotten(seen, leaf, claimed & ~apart, decided & ~seen.allowed)


def contradicted(seen: Evidence, leaf: int, claimed: np.ndarray, decided: np.ndarray) -> Measure:
    """Measure the confident contradictions as a share of what is claimed and what is decided."""
    over, missing = claimed & seen.sure, decided & seen.sure
    total = int(claimed.sum()) + int(decided.sum())
    count, more = int(over.sum()), int(missing.sum())
    place = deepest(over if count >= more else missing)
    note = f"{count * seen.voxel:.3g} ml too much, {more * seen.voxel:.3g} ml too little"
    volume = (count + more) * seen.voxel
    return Measure(
        "contradiction",
        seen.names[leaf],
        (count + more) / max(total, 1),
        place,
        (leaf,),
        volume,
        note,
    )


def coarse(seen: Evidence) -> Iterator[Measure]:
    """Yield the same of label sets of several leaves; only leaves outside of them contradict."""
    for code in np.unique(seen.codes):
        inside = seen.codebook.rows[code]
        if code <= seen.codebook.space.num_leaves or inside.all():
            continue
        claimed = seen.codes == code
        over = claimed & seen.sure
        volume = float(over.sum()) * seen.voxel
        yield Measure(
            *("contradiction", seen.codebook.names[code], float(over.sum() / claimed.sum())),
            deepest(over),
            tuple(int(leaf) for leaf in np.flatnonzero(inside) if leaf != seen.background),
            volume,
            f"{volume:.3g} ml too much",
        )


def not_drawn(seen: Evidence, leaf: int, claimed: np.ndarray, decided: np.ndarray) -> Measure:
    """Measure how much of a structure that an annotation lacks the network is sure of."""
    missing, count = decided & seen.sure, int(decided.sum())
    absent = claimed.sum() <= ABSENT * count
    share = float(missing.sum() / count) if count and absent else 0.0
    volume = count * seen.voxel
    note = f"absent, and the network sees {volume:.3g} ml"
    return Measure("not_drawn", seen.names[leaf], share, deepest(missing), (leaf,), volume, note)


def slices_forgotten(seen: Evidence, leaf: int, claimed: np.ndarray, denied: np.ndarray) -> Measure:
    """Count planes without a structure between planes that have it, where the network sees it.

    Of the three axes that along which most are forgotten counts.
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
        usual = float(np.median(decided[drawn > 0]))
        gone = between & (drawn == 0) & (against > SOLID * usual) & (against > 0)
        if gone.sum() > best:
            best = int(gone.sum())
            plane = np.flatnonzero(gone)[best // 2]
            layer = [slice(None)] * 3
            layer[axis] = slice(plane, plane + 1)
            at = list(deepest(denied[tuple(layer)]))
            at[axis] = int(plane)
            place = (at[0], at[1], at[2])
            volume = float(against[gone].sum()) * seen.voxel
    note = f"empty in {best} planes between others, where the network sees {volume:.3g} ml"
    return Measure("slices", seen.names[leaf], float(best), place, (leaf,), volume, note)


def islands(claimed: np.ndarray, decided: np.ndarray) -> np.ndarray:
    """Return small parts far from the main one that the network does not see."""
    parts, number = ndimage.label(claimed, _TOUCHING)
    sizes = np.bincount(parts.ravel())[1:]
    found = np.zeros_like(claimed)
    if number > 1:
        main = int(sizes.argmax()) + 1
        distance = ndimage.distance_transform_edt(parts != main)
        near = ndimage.minimum(distance, parts, np.arange(1, number + 1))
        agreed = ndimage.mean(decided, parts, np.arange(1, number + 1))
        for part in np.flatnonzero((near > FAR) & (agreed < SEEN) & (sizes < SMALL * sizes.max())):
            found |= parts == part + 1
    return found


def island(seen: Evidence, leaf: int, apart: np.ndarray) -> Measure:
    """Count the voxels of islands."""
    count = int(apart.sum())
    note = f"{count} voxels apart from the rest, where the network sees nothing of it"
    volume = count * seen.voxel
    return Measure("island", seen.names[leaf], count, deepest(apart), (leaf,), volume, note)
