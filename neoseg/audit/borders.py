"""Borders that one annotation draws elsewhere than the others would."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from neoseg.audit.evidence import Evidence, deepest
from neoseg.audit.measure import Measure

FEWEST = 30
"""Faces between two structures below which their border is too small to be measured."""

DIRECTIONS = ("left-right", "back-front", "down-up")
_WORDS = (("left", "right"), ("back", "front"), ("down", "up"))


def displacement(seen: Evidence) -> Iterator[Measure]:
    """Yield by how many voxels what is labelled lies off what the network finds, by direction.

    The centres of mass of all claimed structures together are compared with those of the same
    structures in the decisions; what the annotation leaves open does not count.
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
    centre = [np.array([p.mean() for p in np.nonzero(mask)]) for mask in (claimed, decided)]
    place = deepest(claimed)
    for axis, (name, off) in enumerate(zip(DIRECTIONS, centre[0] - centre[1], strict=True)):
        word = _WORDS[axis][int(off > 0)]
        note = f"{abs(off) * seen.spacing[axis]:.2g} mm further {word} than the network finds them"
        yield Measure("shift", name, float(off), place, (), 0.0, note)


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
