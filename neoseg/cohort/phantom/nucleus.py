"""Paired structures inside the hemispheres, with their shapes in the reference brain.

Coordinates are millimetres of the 40-week reference brain: distance from the midline, anterior,
superior; the origin is between the thalami.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

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


NUCLEI = (
    Nucleus("basal remainder", 85, 85, ((4, 2, -6),), axes=(7.5, 11, 5.5)),
    Nucleus("thalamus, high", 43, 42, ((9.5, -9, 5),), axes=(8.5, 14, 8)),
    Nucleus("thalamus, low", 87, 86, ((12.5, -7, 3.5),), axes=(4.8, 8.5, 5.2)),
    Nucleus("lentiform", 47, 46, ((21.5, 6, 2),), axes=(7, 14, 8.5)),
    Nucleus(
        "caudate",
        41,
        40,
        ((9.5, 24, 4), (11.5, 16, 9), (14, 2, 15.5), (17, -13, 15.5)),
        radii=(4, 5, 3.2, 2),
    ),
    Nucleus("subthalamic", 45, 44, ((10, -6, -4.5),), axes=(4.2, 5, 3.2)),
    Nucleus(
        "hippocampus",
        1,
        2,
        ((16, -27, -1), (22, -18, -8), (23, -4, -13), (19, 4, -14)),
        radii=(2.2, 3.4, 3.8, 3.8),
    ),
    Nucleus("amygdala", 3, 4, ((20, 11, -13),), axes=(6, 6, 5.5)),
)
"""In painting order: later structures overwrite earlier ones."""
