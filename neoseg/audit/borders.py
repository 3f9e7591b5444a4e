"""Borders that one annotation draws elsewhere than the others would."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from scipy import fft, ndimage

from neoseg.audit.evidence import Evidence, deepest
from neoseg.audit.measure import Measure

FURTHEST = 8
"""Voxels by which labels are looked for elsewhere."""

FEWEST = 30
"""Faces between two structures below which their border is too small to be measured."""

DIRECTIONS = ("left-right", "back-front", "down-up")
_WORDS = (("left", "right"), ("back", "front"), ("down", "up"))


def displacement(seen: Evidence) -> Iterator[Measure]:
    """Yield by how many voxels what is labelled lies off what the network finds, by direction.

    The displacement is the one with which all claimed structures together overlap best with the
    same structures in the decisions, refined by a parabola; what the annotation leaves open does
    not count. Beyond `FURTHEST` voxels nothing is looked for.
    """
    book, background = seen.codebook, seen.background
    wide = book.rows.all(axis=1)
    open_codes = wide | (book.rows[:, background] & (book.rows.sum(axis=1) > 1))
    known = ~open_codes[seen.codes]
    claimed = known & (seen.codes != background + 1)
    structures = book.rows[np.unique(seen.codes[claimed])].any(axis=0)
    structures[background] = False
    decided = known & structures[seen.leaves]
    if not claimed.any() or not decided.any():
        return
    place = deepest(claimed)
    found = best_overlap(claimed, decided)
    for axis, (name, off) in enumerate(zip(DIRECTIONS, found, strict=True)):
        word = _WORDS[axis][int(off > 0)]
        note = f"{abs(off) * seen.spacing[axis]:.2g} mm further {word} than the network finds them"
        yield Measure("shift", name, off, place, (), 0.0, note)


def best_overlap(one: np.ndarray, other: np.ndarray) -> list[float]:
    """Return by how many voxels a mask lies off another along each axis."""
    box = ndimage.find_objects((one | other).astype(np.uint8))[0]
    one, other = (np.pad(mask[box], FURTHEST).astype(np.float32) for mask in (one, other))
    product = fft.rfftn(one) * np.conj(fft.rfftn(other))
    # Where nothing moves is put into the middle of a window of the displacements allowed.
    counts = np.rint(fft.irfftn(product, one.shape))
    overlap = np.roll(counts, (FURTHEST,) * 3, axis=(0, 1, 2))
    overlap = overlap[(slice(2 * FURTHEST + 1),) * 3]
    ties = np.argwhere(overlap == overlap.max())  # many where one lies inside the other
    best = ties[np.abs(ties - FURTHEST).sum(axis=1).argmin()]
    found = []
    for axis, at in enumerate(best):
        line = overlap[tuple(slice(None) if a == axis else best[a] for a in range(3))]
        fine = 0.0
        if 0 < at < len(line) - 1:
            below, top, above = (float(line[at + step]) for step in (-1, 0, 1))
            bend = below - 2 * top + above
            fine = 0.5 * (below - above) / bend if bend < 0 else 0.0
        found.append(float(at) + fine - FURTHEST)
    return found


def exchanges(seen: Evidence) -> Iterator[Measure]:
    """Yield by how many voxels each border is off: the net exchange over the faces of the border.

    Above 0 the first of two structures is drawn larger than the network would.
    """
    count, book = seen.codebook.space.num_leaves, seen.codebook
    single = seen.codes - 1  # UNKNOWN wraps round to 255, which is no leaf
    known = (seen.codes > 0) & (seen.codes <= count)
    faces = np.zeros((count, count))
    for axis in range(3):
        one = np.take(seen.leaves, range(seen.leaves.shape[axis] - 1), axis).ravel()
        other = np.take(seen.leaves, range(1, seen.leaves.shape[axis]), axis).ravel()
        known_here = np.take(known, range(known.shape[axis] - 1), axis).ravel()
        pairs = one.astype(int) * count + other
        faces += np.bincount(pairs[known_here], minlength=count**2).reshape(count, count)
    faces += faces.T
    both = single[known].astype(int) * count + seen.leaves[known]
    moved = np.bincount(both, minlength=count**2).reshape(count, count)
    drawn = moved.sum(axis=1) > 0
    yield from _outline(seen, moved, faces, drawn)
    for a in range(count):
        for b in range(a + 1, count):
            if faces[a, b] < FEWEST or not (drawn[a] and drawn[b]):
                continue
            # The background comes second: structures are larger or smaller, not what is around.
            first, second = (b, a) if a == book.space.background else (a, b)
            off = (moved[first, second] - moved[second, first]) / faces[a, b]
            claim, decision = (first, second) if off > 0 else (second, first)
            where = known & (single == claim) & (seen.leaves == decision)
            leaves = tuple(k for k in (first, second) if k != book.space.background)
            size = float(np.prod(seen.spacing)) ** (1 / 3)
            more = "more" if off > 0 else "less"
            name = f"{seen.names[first]} and {seen.names[second]}"
            note = f"{abs(off) * size:.2g} mm {more} {seen.names[first]} than the network finds"
            volume = float(where.sum()) * seen.voxel
            yield Measure("border", name, float(off), deepest(where), leaves, volume, note)


def _outline(
    seen: Evidence, moved: np.ndarray, faces: np.ndarray, drawn: np.ndarray
) -> Iterator[Measure]:
    """Yield by how many voxels the border of all structures together is further out."""
    background = seen.background
    leaves = tuple(int(k) for k in np.flatnonzero(drawn) if k != background)
    area = sum(faces[k, background] for k in leaves)
    if area < FEWEST:
        return
    gained, lost = (sum(m[k, background] for k in leaves) for m in (moved, moved.T))
    off = float((gained - lost) / area)
    clear = seen.codes == background + 1
    outside, inside = clear & np.isin(seen.leaves, leaves), seen.leaves == background
    inside &= np.isin(seen.codes, np.array(leaves) + 1)
    size = float(np.prod(seen.spacing)) ** (1 / 3)
    note = f"{abs(off) * size:.2g} mm further {'out' if off > 0 else 'in'} than the network finds"
    place = deepest(inside if off > 0 else outside)
    volume = float(gained + lost) * seen.voxel
    yield Measure("border", "outline", off, place, leaves, volume, note)
