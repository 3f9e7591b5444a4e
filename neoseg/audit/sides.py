"""Detect exchanged left and right labels."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from neoseg.audit.evidence import Evidence, deepest
from neoseg.audit.measure import Measure

BOTH = "all sides"


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
