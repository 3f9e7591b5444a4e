"""Patch centres: class-balanced among the voxels whose class the annotation determines."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from neoseg.augment.patch_map import Triple
from neoseg.labels import Codebook, Protocol, hide_slices
from neoseg.store.entry import StoreEntry
from neoseg.store.locations import merge_locations, sample_locations


@dataclass(frozen=True)
class StoredPositions:
    """Positions of each class of one scan, read from the store on access.

    In memory, they would take megabytes per scan and process for cohorts with many structures.

    Attributes:
        entry: has positions by stored code.
        lookup: uint8 `[256]`, stored code to row of the codebook.
        codes: for each class, the stored codes whose rows lie inside it.
        limit: largest number of positions per row.
    """

    entry: StoreEntry
    lookup: np.ndarray
    codes: tuple[tuple[int, ...], ...]
    limit: int

    def __len__(self) -> int:
        return len(self.codes)

    def __getitem__(self, place: int) -> np.ndarray:
        located = self.entry.locations(self.codes[place])
        return np.concatenate([*merge_locations(located, self.lookup, self.limit).values()])


@dataclass(frozen=True)
class VisibleLabels:
    """The labels of one scan that a run may use.

    Attributes:
        lookup: uint8 `[256]`, stored code to row of the codebook.
        slices: bool along `slice_axis`, the annotated slices; None if all are annotated.
        slice_axis: axis across which slices are counted.
        positions: flat voxel positions of each class that the annotation shows somewhere.
    """

    lookup: np.ndarray
    slices: np.ndarray | None
    slice_axis: int
    positions: Sequence[np.ndarray] | StoredPositions


def visible_labels(
    entry: StoreEntry,
    lookup: np.ndarray,
    protocol: Protocol,
    codebook: Codebook,
    slice_seed: tuple[int, ...],
    limit: int,
) -> VisibleLabels:
    """Restrict the stored labels of a scan to those that the protocol reveals.

    The positions are those that would have been sampled if the hidden labels did not exist (see
    `locations`).
    """
    slices: np.ndarray | None = None
    positions: Sequence[np.ndarray] | StoredPositions = ()
    if entry.annotated and protocol.slices is None:
        rows = {code: int(lookup[code]) for code in entry.located()}
        rows_of_classes = _rows_by_class(sorted(set(rows.values())), codebook)
        codes = tuple(
            tuple(c for c, row in rows.items() if row in inside) for inside in rows_of_classes
        )
        if codes:
            positions = StoredPositions(entry, lookup, codes, limit)
    elif entry.annotated:
        visible_rows = lookup[entry.read_codes()]
        slices = protocol.slices_of(visible_rows, codebook, slice_seed)
        hide_slices(visible_rows, slices, protocol.slice_axis)
        locations = sample_locations(visible_rows, limit)
        positions = tuple(
            np.concatenate([locations[row] for row in rows_of_class])
            for rows_of_class in _rows_by_class(locations, codebook)
        )
    return VisibleLabels(lookup, slices, protocol.slice_axis, positions)


def _rows_by_class(rows: Iterable[int], codebook: Codebook) -> list[list[int]]:
    """Return the rows that lie inside each class, without background and classes without rows."""
    background = codebook.space.class_leaves[:, codebook.space.background]
    table, rows = codebook.membership, list(rows)
    by_class = [[row for row in rows if table[row, c] == 1] for c in np.flatnonzero(~background)]
    return [rows_of_class for rows_of_class in by_class if rows_of_class]


def draw_centre(
    visible: VisibleLabels, shape: Triple, size: Triple, foreground: float, rng: np.random.Generator
) -> Triple:
    """Draw the voxel around which a patch is cut.

    With probability `foreground` it is a voxel of a class chosen uniformly among those that the
    labels show, otherwise any voxel. The patch is kept inside the scan if it fits.
    """
    use_class, pick_class, pick_voxel = rng.random(3)
    target = [int(rng.integers(n)) for n in shape]
    classes = visible.positions
    if classes and use_class < foreground:
        voxels = classes[int(pick_class * len(classes))]
        flat = voxels[int(pick_voxel * len(voxels))]
        target = [int(i) for i in np.unravel_index(flat, shape)]
    centre = []
    for voxel, length, patch in zip(target, shape, size, strict=True):
        if patch >= length:
            centre.append(length // 2)
        else:
            centre.append(min(max(voxel, patch // 2), length - (patch - patch // 2)))
    return centre[0], centre[1], centre[2]
