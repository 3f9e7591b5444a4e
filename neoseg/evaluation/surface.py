"""Surface distances between two masks, in the unit of the spacing."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import product
from typing import Any

import numpy as np
from scipy.ndimage import distance_transform_edt
from scipy.spatial import KDTree

_NEAR = 8
"""Bound of the first tree search, in voxels: a bounded search costs 1 to 4 µs per point whatever
the size of the surfaces, and most borders of one anatomy are closer than that."""

_SEARCH = 0.3e-6
_TRANSFORM = 0.4e-6
"""Worst-case time of an unbounded search (seconds per point and square root of the surface's size;
a point in the middle of a shell visits most of the tree), and time of the distance transform per
voxel. Measured on one core; only their ratio matters."""

_ROUNDING = 1e-4
"""Slack of the tolerance in units of the spacing, so that rounding in an affine has no effect."""


@dataclass(frozen=True)
class SurfaceDistances:
    """Distances from each border voxel of one mask to the nearest border voxel of the other.

    Each border voxel counts once, as in MONAI's metrics.
    """

    forward: np.ndarray
    backward: np.ndarray

    @property
    def hausdorff(self) -> float:
        """Largest distance of all."""
        return float(max(self.forward.max(), self.backward.max()))

    def percentile(self, share: float) -> float:
        """Return the larger of the two directed percentiles (`share` in 0..100).

        Each direction has its own percentile, interpolated linearly, as in MONAI; pooling both
        directions first would give a smaller number.
        """
        return float(max(np.percentile(self.forward, share), np.percentile(self.backward, share)))

    @property
    def average(self) -> float:
        """Mean over the distances of both directions together (ASSD)."""
        return float(
            (self.forward.sum() + self.backward.sum()) / (self.forward.size + self.backward.size)
        )


def border(mask: np.ndarray) -> np.ndarray:
    """Return the voxels of a bool mask `[X, Y, Z]` with a face neighbour outside it.

    Voxels beyond the edge of the array count as outside.
    """
    padded = np.pad(mask, 1)
    inner = mask.copy()
    for axis, length in enumerate(mask.shape):
        for start in (0, 2):
            window = [slice(1, -1)] * mask.ndim
            window[axis] = slice(start, start + length)
            inner &= padded[tuple(window)]
    surface: np.ndarray = mask & ~inner
    return surface


def surface_distances(
    first: np.ndarray, second: np.ndarray, spacing: Sequence[float]
) -> SurfaceDistances:
    """Measure the exact distances between the borders of two bool masks, in both directions.

    The time is bounded by that of two distance transforms of the box, whatever the masks.

    Args:
        first, second: masks `[X, Y, Z]`, both non-empty, cropped to their joint bounding box.
        spacing: voxel size of each axis; ones give distances in voxels.

    Raises:
        ValueError: if a mask is empty and thus has no surface.
    """
    if not first.any() or not second.any():
        raise ValueError("surface distances need two non-empty masks")
    edges = border(first), border(second)
    return SurfaceDistances(
        _directed_distances(edges[0], edges[1], spacing),
        _directed_distances(edges[1], edges[0], spacing),
    )


def surface_dice(
    first: np.ndarray,
    second: np.ndarray,
    spacing: Sequence[float],
    tolerance: float,
) -> float:
    """Return the share of the area of both surfaces that is at most `tolerance` from the other.

    The normalised surface Dice of Nikolov et al., 2018, arXiv 1809.04430: each 2x2x2 neighbourhood
    that is partly inside the mask holds a surface element, whose area is that of marching cubes;
    distances are measured between the centres of such neighbourhoods. Arguments as in
    `surface_distances`, with `tolerance` in the unit of the spacing.

    Raises:
        ValueError: if a mask is empty.
    """
    if not first.any() or not second.any():
        raise ValueError("the surface Dice needs two non-empty masks")
    areas = _element_areas(tuple(map(float, spacing)))
    codes = [_neighbour_codes(mask) for mask in (first, second)]
    edges = [(code > 0) & (code < 255) for code in codes]
    near = total = 0.0
    for code, source, target in zip(codes, edges, edges[::-1], strict=True):
        area = areas[code[source]]
        reached = _directed_distances(source, target, spacing, tolerance + _ROUNDING)
        near += float(area[reached <= tolerance + _ROUNDING].sum())
        total += float(area.sum())
    return near / total


def _neighbour_codes(mask: np.ndarray) -> np.ndarray:
    """Return uint8 `[X + 1, Y + 1, Z + 1]`: the 2x2x2 voxels around each voxel corner as bits."""
    padded = np.pad(mask, 1).view(np.uint8)
    codes = np.zeros(tuple(length + 1 for length in mask.shape), np.uint8)
    for bit, start in enumerate(product((1, 0), repeat=3)):
        window = zip(start, codes.shape, strict=True)
        codes |= padded[tuple(slice(s, s + length) for s, length in window)] << bit
    return codes


@cache
def _element_areas(spacing: tuple[float, ...]) -> np.ndarray:
    """Return the surface area in each of the 256 neighbourhoods, in squared units of `spacing`."""
    from monai.metrics import utils  # takes seconds

    table: Callable[..., Any] = utils.create_table_neighbour_code_to_surface_area
    areas: np.ndarray = table(spacing)[0].double().numpy()
    return areas


def _directed_distances(
    source: np.ndarray,
    target: np.ndarray,
    spacing: Sequence[float],
    limit: float = np.inf,
) -> np.ndarray:
    """Return the distances from `source` to `target`; those beyond `limit` may be infinite."""
    scale = np.asarray(spacing, dtype=np.float64)
    # Border voxels that both masks share are at distance 0 and need no search.
    distances = np.zeros(np.count_nonzero(source))
    unshared = np.flatnonzero(~target[source])
    if not unshared.size:
        return distances
    points = np.argwhere(source)[unshared]
    tree = KDTree(np.argwhere(target) * scale, leafsize=32)
    bound = min(_NEAR * float(scale.max()), limit)
    distances[unshared] = tree.query(points * scale, distance_upper_bound=bound)[0]
    far = np.isinf(distances[unshared])
    count = np.count_nonzero(far)
    if not count or bound == limit:
        return distances
    if count * np.sqrt(tree.n) * _SEARCH <= source.size * _TRANSFORM:
        far_distances = tree.query(points[far] * scale)[0]
    else:
        far_distances = distance_transform_edt(~target, sampling=tuple(spacing))[
            tuple(points[far].T)
        ]
    distances[unshared[far]] = far_distances
    return distances
