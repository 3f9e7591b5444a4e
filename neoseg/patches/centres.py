"""Where patches are cut: class-balanced centres among what a scan's annotation knows."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import overload

import numpy as np

from neoseg.augment.patch_map import Triple
from neoseg.labels import Codebook, Protocol, hide_slices
from neoseg.store.entry import StoreEntry
from neoseg.store.locations import merge_locations, sample_locations


@dataclass(frozen=True)
class StoredPositions(Sequence[np.ndarray]):
    """Positions of each class of one scan, read when they are asked for.

    Kept in memory, those of a cohort with many structures would take megabytes a scan and process.

    Attributes:
        entry: has positions by stored code.
        lookup: uint8 `[256]`, stored code to row of the codebook.
        codes: of each class, the stored codes whose rows lie inside it.
        limit: positions of each row.
    """

    entry: StoreEntry
    lookup: np.ndarray
    codes: tuple[tuple[int, ...], ...]
    limit: int

    def __len__(self) -> int:
        return len(self.codes)

    @overload
    def __getitem__(self, place: int) -> np.ndarray: ...

    @overload
    def __getitem__(self, place: slice) -> tuple[np.ndarray, ...]: ...

    def __getitem__(self, place: int | slice) -> np.ndarray | tuple[np.ndarray, ...]:
        if isinstance(place, slice):
            return tuple(self[number] for number in range(*place.indices(len(self))))
        found = self.entry.locations(self.codes[place])
        return np.concatenate([*merge_locations(found, self.lookup, self.limit).values()])


@dataclass(frozen=True)
class VisibleLabels:
    """What a run may know of one scan.

    Attributes:
        lookup: uint8 `[256]`, stored code to row of the codebook.
        slices: bool along `slice_axis`, those with the annotation; None where all have it.
        positions: for each class that the annotation shows somewhere, flat voxel positions.
    """

    lookup: np.ndarray
    slices: np.ndarray | None
    slice_axis: int
    positions: Sequence[np.ndarray]


def visible_labels(
    entry: StoreEntry,
    lookup: np.ndarray,
    protocol: Protocol,
    codebook: Codebook,
    slice_seed: tuple[int, ...],
    limit: int,
) -> VisibleLabels:
    """Restrict what the store holds of a scan to what the protocol tells.

    The positions are those that the scan would have yielded had the hidden labels never existed
    (see `locations`).
    """
    slices: np.ndarray | None = None
    positions: Sequence[np.ndarray] = ()
    if entry.annotated and protocol.slices is None:
        rows = {code: int(lookup[code]) for code in entry.located()}
        inside = _inside(sorted(set(rows.values())), codebook)
        codes = tuple(tuple(c for c, row in rows.items() if row in found) for found in inside)
        if codes:
            positions = StoredPositions(entry, lookup, codes, limit)
    elif entry.annotated:
        shown = lookup[entry.read_codes()]
        slices = protocol.slices_of(shown, codebook, slice_seed)
        hide_slices(shown, slices, protocol.slice_axis)
        at = sample_locations(shown, limit)
        positions = tuple(np.concatenate([at[row] for row in r]) for r in _inside(at, codebook))
    return VisibleLabels(lookup, slices, protocol.slice_axis, positions)


def _inside(rows: Iterable[int], codebook: Codebook) -> list[list[int]]:
    """Return the rows that lie inside each class, without background and classes with no row."""
    background = codebook.space.class_leaves[:, codebook.space.background]
    table, rows = codebook.membership, list(rows)
    inside = [[row for row in rows if table[row, c] == 1] for c in np.flatnonzero(~background)]
    return [found for found in inside if found]


def draw_centre(
    visible: VisibleLabels, shape: Triple, size: Triple, foreground: float, rng: np.random.Generator
) -> Triple:
    """Draw the voxel around which a patch is cut.

    With probability `foreground` it is a voxel of a class chosen evenly among those that the
    labels show, otherwise any voxel. The patch is kept inside the scan where it fits.
    """
    use_class, pick_class, pick_voxel = rng.random(3)
    anywhere = [int(rng.integers(n)) for n in shape]
    classes = visible.positions
    if classes and use_class < foreground:
        voxels = classes[int(pick_class * len(classes))]
        flat = voxels[int(pick_voxel * len(voxels))]
        anywhere = [int(i) for i in np.unravel_index(flat, shape)]
    centre = []
    for voxel, length, patch in zip(anywhere, shape, size, strict=True):
        if patch >= length:
            centre.append(length // 2)
        else:
            centre.append(min(max(voxel, patch // 2), length - (patch - patch // 2)))
    return centre[0], centre[1], centre[2]
