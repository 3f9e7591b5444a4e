"""Surface distances between two masks, in the unit of the spacing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.ndimage import distance_transform_edt
from scipy.spatial import KDTree

_NEAR = 8
"""Voxels within which the tree is searched in any case: a bounded search costs 1 to 4 µs a point
however large the surfaces are, and borders of one anatomy lie nearer than that."""

_SEARCH = 0.3e-6
_TRANSFORM = 0.4e-6
"""Upper bound of a search without a bound (seconds per point and square root of the surface's
size; what lies in the middle of a shell visits most of the tree), and the time of the distance
transform per voxel. Measured on one core; only their ratio counts."""

_ROUNDING = 1e-4
"""Slack of the tolerance in units of the spacing, so that the rounding of an affine decides
nothing."""


@dataclass(frozen=True)
class SurfaceDistances:
    """Distance from each border voxel of a mask to the nearest border voxel of the other."""

    forward: np.ndarray
    backward: np.ndarray

    @property
    def hausdorff(self) -> float:
        """Largest distance of all."""
        return float(max(self.forward.max(), self.backward.max()))

    def percentile(self, share: float) -> float:
        """Return the larger of the two directed percentiles (`share` in 0..100).

        The percentile is taken in each direction apart, interpolated linearly, as MONAI does it;
        pooling the two sets first would give a smaller number.
        """
        return float(max(np.percentile(self.forward, share), np.percentile(self.backward, share)))

    @property
    def average(self) -> float:
        """Mean over both sets together (ASSD)."""
        return float(
            (self.forward.sum() + self.backward.sum()) / (self.forward.size + self.backward.size)
        )

    def within(self, tolerance: float) -> float:
        """Return the share of both surfaces that is at most `tolerance` from the other.

        The normalised surface Dice (Nikolov et al., 2018, arXiv 1809.04430) with border voxels as
        elements of the surface, each counted once, as MONAI does it.
        """
        near = sum(np.count_nonzero(d <= tolerance + _ROUNDING) for d in self._both)
        return near / (self.forward.size + self.backward.size)

    @property
    def _both(self) -> tuple[np.ndarray, np.ndarray]:
        return self.forward, self.backward


def border(mask: np.ndarray) -> np.ndarray:
    """Return the voxels of a bool mask `[X, Y, Z]` with a face neighbour outside it.

    What lies beyond the array counts as outside.
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
    first: np.ndarray, second: np.ndarray, spacing: Sequence[float], workers: int = 1
) -> SurfaceDistances:
    """Measure both directions between the borders of two bool masks of one shape, exactly.

    The time is bounded by that of two distance transforms of the box, whatever the masks are.

    Args:
        first, second: masks `[X, Y, Z]`, both non-empty, cropped to their joint bounding box.
        spacing: voxel size for each axis; ones give distances in voxels.
        workers: threads of the nearest-neighbour search.

    Raises:
        ValueError: if a mask is empty; there is no surface to measure to.
    """
    if not first.any() or not second.any():
        raise ValueError("surface distances need two non-empty masks")
    edges = border(first), border(second)
    return SurfaceDistances(
        _directed(edges[0], edges[1], spacing, workers),
        _directed(edges[1], edges[0], spacing, workers),
    )


def _directed(
    source: np.ndarray, target: np.ndarray, spacing: Sequence[float], workers: int
) -> np.ndarray:
    scale = np.asarray(spacing, dtype=np.float64)
    # Border voxels that the masks share are at distance 0 and need no search.
    distances = np.zeros(np.count_nonzero(source))
    apart = np.flatnonzero(~target[source])
    if not apart.size:
        return distances
    places = np.argwhere(source)[apart]
    tree = KDTree(np.argwhere(target) * scale, leafsize=32)
    near = _NEAR * float(scale.max())
    distances[apart] = tree.query(places * scale, distance_upper_bound=near, workers=workers)[0]
    far = np.isinf(distances[apart])
    count = np.count_nonzero(far)
    if not count:
        return distances
    if count * np.sqrt(tree.n) * _SEARCH <= source.size * _TRANSFORM:
        found = tree.query(places[far] * scale, workers=workers)[0]
    else:
        found = distance_transform_edt(~target, sampling=tuple(spacing))[tuple(places[far].T)]
    distances[apart[far]] = found
    return distances
