"""Paired structures inside the hemispheres, with their shapes in the reference brain.

Coordinates are millimetres of the 40-week reference brain: distance from the midline, anterior,
superior; the origin is between the thalami.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from neoseg.cohort.phantom.parcels import ANATOMY
from neoseg.cohort.phantom.shapes import Floats, Point, ellipsoid, tube


@dataclass(frozen=True)
class Displacement:
    """Offset in mm and relative size of one nucleus, each `[2, 3]` for left and right."""

    offset: np.ndarray
    size: np.ndarray


@dataclass(frozen=True)
class Nucleus:
    """A paired structure: an ellipsoid (`axes`) or a tube (`path` and `radii`)."""

    name: str
    left: int
    right: int
    path: tuple[Point, ...]
    radii: tuple[float, ...] = ()
    axes: Point = ()

    def depth(self, points: Sequence[Floats], moved: Displacement, side: int) -> Floats:
        """Return the depth in mm in the displaced structure; `side` is 0 (left) or 1 (right)."""
        offset, size = moved.offset[side], moved.size[side]
        if self.axes:
            centre = np.asarray(self.path[0]) + offset
            return ellipsoid(points, centre, np.asarray(self.axes) * size)
        path = [np.asarray(point) + offset for point in self.path]
        return tube(points, path, np.asarray(self.radii) * float(np.cbrt(np.prod(size))))


NUCLEI = [Nucleus(**nucleus) for nucleus in ANATOMY["nuclei"]]
"""In painting order: later structures overwrite earlier ones."""
