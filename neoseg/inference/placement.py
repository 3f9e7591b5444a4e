"""Map pieces of a volume from the prepared grid of a scan to its canonical grid."""

from collections.abc import Callable, Iterable, Iterator

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from neoseg.inference.blending import Region
from neoseg.store import Geometry

Watch = Callable[[Tensor, Region, Geometry], None]
"""Callback that receives the leaf probabilities `[K, *piece]` by which voxels were decided, piece
by piece, and the region of each piece in the scan's canonical grid. Voxels that no piece covers
are background with certainty.
"""


def in_scan(region: Region, geometry: Geometry) -> Region:
    """Translate a region of the cropped grid to the scan's canonical grid."""
    start = [low for low, _ in geometry.crop]
    x, y, z = (slice(r.start + s, r.stop + s) for r, s in zip(region, start, strict=True))
    return x, y, z


def place_pieces(
    pieces: Iterable[tuple[Region, Tensor]], geometry: Geometry
) -> Iterator[tuple[Region, Tensor]]:
    """Map values `[C, *piece]` from the prepared to the scan's canonical grid.

    If voxel sizes differ, values are interpolated linearly, with the edges of both grids aligned.
    Pieces must then be whole planes, in order along one axis; only planes still needed are kept.
    """
    placed = _resampled(pieces, geometry) if geometry.resampled else pieces
    for region, values in placed:
        yield in_scan(region, geometry), values


def _resampled(
    pieces: Iterable[tuple[Region, Tensor]], geometry: Geometry
) -> Iterator[tuple[Region, Tensor]]:
    source = geometry.prepared_shape
    target = [high - low for low, high in geometry.crop]
    planes: dict[int, Tensor] = {}
    index = 0
    axis: int | None = None
    for region, values in pieces:
        if axis is None:
            partial = [a for a in range(3) if region[a] != slice(0, source[a])]
            axis = partial[0] if partial else 0
            cross = [target[a] for a in range(3) if a != axis]
        first = region[axis].start
        flat = interpolate(values.movedim(1 + axis, 0), cross, mode="bilinear", align_corners=False)
        planes |= {first + number: plane for number, plane in enumerate(flat)}
        while index < target[axis]:
            position = (index + 0.5) * source[axis] / target[axis] - 0.5
            position = min(max(position, 0.0), source[axis] - 1.0)
            below = int(position)
            above = min(below + 1, source[axis] - 1)
            if above not in planes:
                break
            plane = torch.lerp(planes[below], planes[above], position - below)
            planes = {number: kept for number, kept in planes.items() if number >= below}
            box = [slice(0, length) for length in target]
            box[axis] = slice(index, index + 1)
            yield (box[0], box[1], box[2]), plane.unsqueeze(1 + axis)
            index += 1
