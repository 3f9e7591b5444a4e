"""Detect exchanged labels: left and right, or any two structures."""

from collections.abc import Iterator

import numpy as np

from neoseg.audit.evidence import Evidence, deepest
from neoseg.audit.measure import Measure

BOTH = "all sides"

LOOKED_AT = 0.1
"""Share of exchanged voxels from which their place is determined."""


def swaps(seen: Evidence) -> Iterator[Measure]:
    """Yield the share of voxels that agree with exchanged sides, of all sided labels and each pair.

    Voxels of sided labels count if the network decides for exactly one of the label and its mirror
    label. If most voxels are exchanged, the single pairs are left out.
    """
    book = seen.codebook
    partners = book.mirror[seen.codes]
    allowed_if_swapped = book.rows[partners, seen.leaves]
    sided = (partners != seen.codes) & (seen.allowed != allowed_if_swapped)
    crossed = sided & allowed_if_swapped
    sided_leaves = tuple(k for k, mirror in enumerate(book.space.mirror) if mirror != k)
    if not sided_leaves:
        return
    overall = _measure(seen, BOTH, sided, crossed, sided_leaves)
    yield overall
    if overall.value > 0.5:
        return
    for code in range(1, book.size):
        partner = int(book.mirror[code])
        if partner > code:
            pair = (seen.codes == code) | (seen.codes == partner)
            leaves = tuple(sorted(book.sets[code] | book.sets[partner]))
            name = f"{book.names[code]} and {book.names[partner]}"
            yield _measure(seen, name, sided & pair, crossed & pair, leaves)


def _measure(
    seen: Evidence, name: str, sided: np.ndarray, crossed: np.ndarray, leaves: tuple[int, ...]
) -> Measure:
    count, total = int(crossed.sum()), int(sided.sum())
    note = f"{count} of {total} voxels are on the other side according to the network"
    volume = count * seen.voxel
    share = count / max(total, 1)
    return Measure("swap", name, share, deepest(crossed), leaves, volume, note)


def exchanged(seen: Evidence) -> Iterator[Measure]:
    """Yield for each structure the share exchanged with the one that it is most exchanged with.

    Of two structures it is the smaller of two shares: of the voxels labelled as one, those that the
    network calls the other, and the reverse. Mirror partners are left to `swaps`.
    """
    space = seen.codebook.space
    count, leaves = space.num_leaves, np.arange(space.num_leaves)
    single = (seen.codes >= 1) & (seen.codes <= count)
    pairs = (seen.codes[single].astype(np.int64) - 1) * count + seen.leaves[single]
    joint = np.bincount(pairs, minlength=count**2).reshape(count, count)
    share = joint / np.maximum(joint.sum(1, keepdims=True), 1)
    both = np.minimum(share, share.T)
    both[leaves, leaves] = both[leaves, list(space.mirror)] = 0
    both[seen.background] = both[:, seen.background] = 0
    for leaf in np.flatnonzero(joint.sum(1)):
        if leaf == seen.background:
            continue
        other = int(both[leaf].argmax())
        value, place = float(both[leaf, other]), (0, 0, 0)
        if value >= LOOKED_AT:
            crossed = (seen.codes == leaf + 1) & (seen.leaves == other)
            place = deepest(crossed | ((seen.codes == other + 1) & (seen.leaves == leaf)))
        voxels = int(joint[leaf, other] + joint[other, leaf])
        note = f"carries the label of {seen.names[other]}, and the reverse, by the network"
        found = (int(leaf), other)
        yield Measure("swap", seen.names[leaf], value, place, found, voxels * seen.voxel, note)
