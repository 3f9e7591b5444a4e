"""Where patches are cut: class-balanced centres among what a scan's annotation knows."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from neoseg.data.locations import merge_locations, sample_locations
from neoseg.data.store import StoreEntry
from neoseg.labels import Codebook, Protocol

Triple = tuple[int, int, int]


@dataclass(frozen=True)
class Annotation:
    """What a run may know of one scan.

    Attributes:
        lookup: uint8 `[256]`, native code to row of the codebook.
        protocol: also hides slices where it says so.
        positions: for each class that the annotation shows somewhere, flat voxel positions.
    """

    lookup: np.ndarray
    protocol: Protocol
    slices: np.ndarray | None
    slice_axis: int
    positions: tuple[np.ndarray, ...]


def annotate(
    entry: StoreEntry,
    lookup: np.ndarray,
    protocol: Protocol,
    codebook: Codebook,
    slice_seed: tuple[int, ...],
    slice_axis: int,
    limit: int,
) -> Annotation:
    """Restrict what the store holds of a scan to what the protocol tells.

    The positions are those that the scan would have yielded had the hidden labels never existed
    (see `locations`).
    """
    slices, found = None, {}
    if entry.annotated:
        if protocol.slices is None:
            found = merge_locations(entry.locations(), lookup, limit)
        else:
            slices = protocol.annotated_slices(entry.shape[slice_axis], slice_seed)
            codes = protocol.hide_slices(lookup[np.asarray(entry.codes[:])], slice_seed)
            found = sample_locations(codes, limit)
    membership = codebook.membership
    background = codebook.space.class_leaves[:, codebook.space.background]
    positions = []
    for number in np.flatnonzero(~background):
        codes_inside = [code for code in found if membership[code, number] == 1]
        if codes_inside:
            positions.append(np.concatenate([found[code] for code in codes_inside]))
    return Annotation(lookup, protocol, slices, slice_axis, tuple(positions))


def draw_centre(
    annotation: Annotation, shape: Triple, size: Triple, foreground: float, rng: np.random.Generator
) -> Triple:
    """Draw the voxel around which a patch is cut.

    With probability `foreground` it is a voxel of a class chosen evenly among those that the
    annotation shows, otherwise any voxel. The patch is kept inside the scan where it fits.
    """
    use_class, pick_class, pick_voxel = rng.random(3)
    anywhere = [int(rng.integers(n)) for n in shape]
    classes = annotation.positions
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
