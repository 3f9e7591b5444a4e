"""Place the structures inside the hemispheres: deep grey, hippocampus, amygdala, ventricles.

Coordinates are millimetres of the 40-week reference brain: first the distance from the midline,
then towards the front, then upwards; the origin lies between the thalami.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from .shapes import Floats, Point, ellipsoid, tube

if TYPE_CHECKING:
    from .individual import Displacement, Individual


@dataclass(frozen=True)
class Nucleus:
    """Describe a paired structure: an ellipsoid (`axes`) or a tube (`path` and `radii`)."""

    name: str
    left: int
    right: int
    path: tuple[Point, ...]
    radii: tuple[float, ...] = ()
    axes: Point = ()

    def depth(self, points: Sequence[Floats], moved: Displacement, side: int) -> Floats:
        """Return the depth in mm in the displaced structure; `side` is 0 left, 1 right."""
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
"""Painted in this order: a later structure covers an earlier one where they meet."""

FRONTAL_TO_OCCIPITAL_HORN = (
    ((5, 28, 6), (7, 20, 11), (9, 2, 17.5), (14, -16, 17), (20, -28, 10), (17, -42, 5)),
    (1.8, 3.4, 3.2, 4.0, 5.2, 2.4),
)
TEMPORAL_HORN = (((20, -28, 10), (27.5, -18, -6), (27.5, 0, -13)), (4.4, 2.2, 1.5))
LEFT_VENTRICLE, RIGHT_VENTRICLE = 49, 50
CSF = 83


def paint_nuclei(
    labels: NDArray[np.uint8],
    points: Sequence[Floats],
    individual: Individual,
    ventricle_scale: float,
    cavum_width: float,
) -> Floats:
    """Write the deep structures into `labels` `[N]` and return the depth in the ventricles `[N]`.

    `points` are the x (right positive), y and z of the N voxels in reference mm.
    """
    ventricle_depth = np.full(labels.shape, -99.0, np.float32)
    x = points[0]
    for side, chosen in enumerate((x < 0, x >= 0)):
        here = [np.abs(x[chosen]), points[1][chosen], points[2][chosen]]
        if not here[0].size:
            continue
        painted = labels[chosen]
        for nucleus in NUCLEI:
            inside = nucleus.depth(here, individual.nuclei[nucleus.name], side) > 0
            painted[inside] = (nucleus.left, nucleus.right)[side]
        size = ventricle_scale * individual.ventricles[side]
        depth = np.maximum(
            *(
                tube(here, path, [radius * size for radius in radii])
                for path, radii in (FRONTAL_TO_OCCIPITAL_HORN, TEMPORAL_HORN)
            )
        )
        if individual.has_cavum:
            depth = np.maximum(depth, ellipsoid(here, (0, 15, 10), (cavum_width, 11, 6)))
        painted[depth > 0] = (LEFT_VENTRICLE, RIGHT_VENTRICLE)[side]
        width = 0.9 + 0.5 * (size - 1)
        painted[ellipsoid(here, (0, -5, 0), (max(width, 0.6), 12, 9)) > 0] = CSF
        labels[chosen] = painted
        ventricle_depth[chosen] = depth
    return ventricle_depth
