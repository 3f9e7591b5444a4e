"""Left and right exchanged."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from neoseg.audit.evidence import Evidence, deepest
from neoseg.audit.measure import Measure

BOTH = "all sides"


def swaps(seen: Evidence) -> Iterator[Measure]:
    """Yield, of all sided labels and of each pair, the share that agrees with sides exchanged.

    Of the voxels of a label that has a side, those count where the network decides for that side
    or for the other. Where all are exchanged, the single pairs say nothing more.
    """
    book = seen.codebook
    partners = book.mirror[seen.codes]
    other = book.rows[partners, seen.leaves]
    sided = (partners != seen.codes) & (seen.allowed != other)
    crossed = sided & other
    every = tuple(k for k, mirror in enumerate(book.space.mirror) if mirror != k)
    if not every:
        return
    whole = _measure(seen, BOTH, sided, crossed, every)
    yield whole
    if whole.value > 0.5:
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
    note = f"{count} of {total} voxels are on the side of the other in the network's eyes"
    volume = count * seen.voxel
    share = count / max(total, 1)
    return Measure("swap", name, share, deepest(crossed), leaves, volume, note)
