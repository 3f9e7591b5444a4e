"""Displaced labels and borders."""

from collections.abc import Iterator

import numpy as np
from scipy import fft, ndimage

from neoseg.audit.evidence import Evidence, deepest
from neoseg.audit.measure import Measure

MAX_SHIFT = 8
"""Maximum displacement of labels that is searched, in voxels."""

MIN_FACES = 30
"""Minimum number of voxel faces between two structures to measure their border."""

DIRECTIONS = ("left-right", "back-front", "down-up")
_WORDS = (("left", "right"), ("back", "front"), ("down", "up"))


def displacement(seen: Evidence) -> Iterator[Measure]:
    """Yield the displacement of the labels from the network's decisions, in voxels, per axis.

    It is the shift that maximises the overlap of all claimed structures together with the same
    structures in the decisions, refined by a parabola; voxels that the annotation leaves open do
    not count. Shifts beyond `MAX_SHIFT` voxels are not searched.
    """
    book, background = seen.codebook, seen.background
    is_unknown = book.rows.all(axis=1)
    open_codes = is_unknown | (book.rows[:, background] & (book.rows.sum(axis=1) > 1))
    known = ~open_codes[seen.codes]
    claimed = known & (seen.codes != background + 1)
    structures = book.rows[np.unique(seen.codes[claimed])].any(axis=0)
    structures[background] = False
    decided = known & structures[seen.leaves]
    if not claimed.any() or not decided.any():
        return
    place = deepest(claimed)
    offsets = best_overlap(claimed, decided)
    for axis, (name, offset) in enumerate(zip(DIRECTIONS, offsets, strict=True)):
        word = _WORDS[axis][int(offset > 0)]
        note = (
            f"{abs(offset) * seen.spacing[axis]:.2g} mm further {word} than the network finds them"
        )
        yield Measure("shift", name, offset, place, (), 0.0, note)


def best_overlap(one: np.ndarray, other: np.ndarray) -> list[float]:
    """Return the displacement in voxels of mask `one` from mask `other` along each axis."""
    box = ndimage.find_objects((one | other).astype(np.uint8))[0]
    one, other = (np.pad(mask[box], MAX_SHIFT).astype(np.float32) for mask in (one, other))
    product = fft.rfftn(one) * np.conj(fft.rfftn(other))
    # Roll zero displacement to the centre of the window of allowed displacements.
    counts = np.rint(fft.irfftn(product, one.shape))
    overlap = np.roll(counts, (MAX_SHIFT,) * 3, axis=(0, 1, 2))
    overlap = overlap[(slice(2 * MAX_SHIFT + 1),) * 3]
    ties = np.argwhere(overlap == overlap.max())  # several if a mask contains the other
    best = ties[np.abs(ties - MAX_SHIFT).sum(axis=1).argmin()]
    offsets = []
    for axis, peak in enumerate(best):
        line = overlap[tuple(slice(None) if a == axis else best[a] for a in range(3))]
        subvoxel = 0.0
        if 0 < peak < len(line) - 1:
            below, top, above = (float(line[peak + step]) for step in (-1, 0, 1))
            curvature = below - 2 * top + above
            subvoxel = 0.5 * (below - above) / curvature if curvature < 0 else 0.0
        offsets.append(float(peak) + subvoxel - MAX_SHIFT)
    return offsets


def exchanges(seen: Evidence) -> Iterator[Measure]:
    """Yield the mean displacement of each border in voxels: net exchanged voxels per border face.

    Above 0 the first of two structures is larger in the annotation than in the decisions.
    """
    count, book = seen.codebook.space.num_leaves, seen.codebook
    claimed_leaf = seen.codes - 1  # UNKNOWN wraps around to 255, which is no leaf
    known = (seen.codes > 0) & (seen.codes <= count)
    faces = np.zeros((count, count))
    for axis in range(3):
        voxels = np.take(seen.leaves, range(seen.leaves.shape[axis] - 1), axis).ravel()
        neighbours = np.take(seen.leaves, range(1, seen.leaves.shape[axis]), axis).ravel()
        known_here = np.take(known, range(known.shape[axis] - 1), axis).ravel()
        pairs = voxels.astype(int) * count + neighbours
        faces += np.bincount(pairs[known_here], minlength=count**2).reshape(count, count)
    faces += faces.T
    claim_decision = claimed_leaf[known].astype(int) * count + seen.leaves[known]
    moved = np.bincount(claim_decision, minlength=count**2).reshape(count, count)
    drawn = moved.sum(axis=1) > 0
    yield from _outline(seen, moved, faces, drawn)
    for a in range(count):
        for b in range(a + 1, count):
            if faces[a, b] < MIN_FACES or not (drawn[a] and drawn[b]):
                continue
            # The background comes second, so that the note is about the structure's size.
            first, second = (b, a) if a == book.space.background else (a, b)
            offset = (moved[first, second] - moved[second, first]) / faces[a, b]
            claim, decision = (first, second) if offset > 0 else (second, first)
            is_moved = known & (claimed_leaf == claim) & (seen.leaves == decision)
            leaves = tuple(k for k in (first, second) if k != book.space.background)
            voxel_mm = float(np.prod(seen.spacing)) ** (1 / 3)
            more = "more" if offset > 0 else "less"
            name = f"{seen.names[first]} and {seen.names[second]}"
            note = (
                f"{abs(offset) * voxel_mm:.2g} mm {more} {seen.names[first]} than the network finds"
            )
            volume = float(is_moved.sum()) * seen.voxel
            yield Measure("border", name, float(offset), deepest(is_moved), leaves, volume, note)


def _outline(
    seen: Evidence, moved: np.ndarray, faces: np.ndarray, drawn: np.ndarray
) -> Iterator[Measure]:
    """Yield how far the outline of all structures together is displaced outwards, in voxels."""
    background = seen.background
    leaves = tuple(int(k) for k in np.flatnonzero(drawn) if k != background)
    area = sum(faces[k, background] for k in leaves)
    if area < MIN_FACES:
        return
    gained, lost = (sum(m[k, background] for k in leaves) for m in (moved, moved.T))
    off = float((gained - lost) / area)
    on_background = seen.codes == background + 1
    outside, inside = on_background & np.isin(seen.leaves, leaves), seen.leaves == background
    inside &= np.isin(seen.codes, np.array(leaves) + 1)
    voxel_mm = float(np.prod(seen.spacing)) ** (1 / 3)
    note = (
        f"{abs(off) * voxel_mm:.2g} mm further {'out' if off > 0 else 'in'} than the network finds"
    )
    place = deepest(inside if off > 0 else outside)
    volume = float(gained + lost) * seen.voxel
    yield Measure("border", "outline", off, place, leaves, volume, note)
