"""Place the structures inside the hemispheres: deep grey, hippocampus, amygdala, ventricles.

Coordinates as in `nucleus`.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from neoseg.cohort.phantom.individual import Individual
from neoseg.cohort.phantom.nucleus import NUCLEI
from neoseg.cohort.phantom.shapes import Floats, ellipsoid, tube

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
    """Paint the deep structures into `labels` `[N]`; return the depth in the ventricles `[N]`.

    `points` are the x (right positive), y and z of the N voxels in reference mm.
    """
    ventricle_depth = np.full(labels.shape, -99.0, np.float32)
    x = points[0]
    for side, on_side in enumerate((x < 0, x >= 0)):
        mirrored = [np.abs(x[on_side]), points[1][on_side], points[2][on_side]]
        if not mirrored[0].size:
            continue
        painted = labels[on_side]
        for nucleus in NUCLEI:
            inside = nucleus.depth(mirrored, individual.nuclei[nucleus.name], side) > 0
            painted[inside] = (nucleus.left, nucleus.right)[side]
        size = ventricle_scale * individual.ventricles[side]
        depth = np.maximum(
            *(
                tube(mirrored, path, [radius * size for radius in radii])
                for path, radii in (FRONTAL_TO_OCCIPITAL_HORN, TEMPORAL_HORN)
            )
        )
        if individual.has_cavum:
            depth = np.maximum(depth, ellipsoid(mirrored, (0, 15, 10), (cavum_width, 11, 6)))
        painted[depth > 0] = (LEFT_VENTRICLE, RIGHT_VENTRICLE)[side]
        width = 0.9 + 0.5 * (size - 1)
        painted[ellipsoid(mirrored, (0, -5, 0), (max(width, 0.6), 12, 9)) > 0] = CSF
        labels[on_side] = painted
        ventricle_depth[on_side] = depth
    return ventricle_depth
