"""Shape the cerebrum: hull, interhemispheric and Sylvian fissures, sulci and cortical ribbon.

Everything is a function of position, so a scan can be computed in blocks and on any grid.
Coordinates as in `nucleus`; depths in mm of the 40-week reference brain.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from neoseg.cohort.phantom.growth import Growth
from neoseg.cohort.phantom.individual import Individual
from neoseg.cohort.phantom.shapes import (
    Floats,
    block,
    ellipsoid,
    smooth_maximum,
    smooth_minimum,
    smooth_step,
)

FOLD_AXIS_BACK, FOLD_AXIS_FRONT = (19.0, -30.0, 9.0), (18.0, 28.0, 8.0)
FOLD_RADIUS = np.float32(26.0)
FLATTENING = np.float32(0.74)
"""Factor that scales the height of a hemisphere to its width before folds are mapped."""
MIDLINE_CENTRE, MIDLINE_AXES = (-1.0, 2.0), (31.0, 20.0)


@dataclass(frozen=True)
class Cerebrum:
    """Depths `[X, Y, Z]`: below the smooth hull, below the pia, and in the midline core."""

    hull: Floats
    pia: Floats
    core: Floats


def hull_depth(x: Floats, y: Floats, z: Floats) -> Floats:
    """Return the depth below the smooth outline of the hemispheres and temporal lobes."""
    # The head is wider over the parietal lobes than over the frontal ones.
    widened = np.abs(x) / (1 - np.float32(0.0022) * np.clip(y, -60, 60))
    lobes = ellipsoid((widened, y, z), (0, 0, 13), (44.5, 57, 35))
    base = z + 15 - 8 * smooth_step(-y, 5, 45) - 3 * smooth_step(y, 15, 50)
    lobes = smooth_minimum(lobes, base, 6)
    raised = z + np.float32(0.12) * (y - 4)
    temporal = ellipsoid((widened, y, raised), (28.5, 3, -13), (14.5, 31, 14.5))
    return smooth_maximum(lobes, temporal, 3)


def sylvian_distance(x: Floats, y: Floats, z: Floats, opening: float, insula_gap: float) -> Floats:
    """Return the distance to the Sylvian fissure and to the cleft over the insula."""
    lateral = np.abs(x) / (1 - np.float32(0.0022) * np.clip(y, -60, 60))
    height = z - 1 + np.float32(0.34) * y
    # Before term the fissure is a wide fossa, open laterally; later the opercula close it.
    half_width = 0.3 + opening * (0.25 + smooth_step(lateral, 25, 43)) / 2.5
    fissure = block((np.abs(height) * 0.94 - half_width, 26 - lateral, np.abs(y) - 24))
    tilted = z - 1 + np.float32(0.2) * y
    reach = np.sqrt((y / 17) ** 2 + (tilted / 9) ** 2)
    cleft = block((np.abs(lateral - 27) - insula_gap, (reach - 1) * 9))
    return np.minimum(fissure, cleft)


def shape_cerebrum(
    x: Floats, y: Floats, z: Floats, bend: Floats, growth: Growth, individual: Individual
) -> Cerebrum:
    """Return the depths at points `[X, Y, Z]` given in reference mm.

    Sulci are sheets that descend from the hull along the zero lines of a random field, with one
    field per wave of folding. The fields are defined on a capsule around the axis of each
    hemisphere, onto which points are projected; `bend` `[3, X, Y, Z]` displaces the projections.
    The distance to a sheet is the field's value divided by its gradient (first order), and the
    depth below the pia is the distance to the nearest of hull, fissures and sheets.
    """
    scale = growth.scale
    hull = hull_depth(x, y, z)
    core = ellipsoid((y, z), MIDLINE_CENTRE, MIDLINE_AXES)
    fissure = block((np.abs(x) - growth.fissure_width / 2 / scale, core))
    opening = growth.sylvian_opening * individual.sylvian / scale
    sylvian = sylvian_distance(x, y, z, opening, 0.25 + 0.18 * opening)
    outer = np.minimum(np.minimum(hull, fissure), sylvian)
    pia = outer.copy()
    deepest = max(growth.sulcal_depths) / scale * 1.4 + 4
    shell = (outer > 0) & (outer < deepest)
    if shell.any():
        points = (np.abs(x[shell]), y[shell], z[shell])
        # The bend differs between left and right, and so do the folds of the two hemispheres.
        bent = np.stack([component[shell] for component in bend], axis=-1)
        pia[shell] = _depth_with_sulci(points, bent, outer[shell], growth, individual)
    return Cerebrum(hull=hull, pia=pia, core=core)


def _depth_with_sulci(
    points: Sequence[Floats], bend: Floats, outer: Floats, growth: Growth, individual: Individual
) -> Floats:
    anchors, normals, distance_to_axis = _project(points)
    # Position on the fold map; bent, so that sulci curve with depth.
    mapped = anchors + FOLD_RADIUS * normals + bend
    variation, _ = individual.sulcal_depth.evaluate(mapped, normals)
    nearest_sheet = np.full(outer.shape, 99.0, np.float32)
    pia = outer
    for order, (waves, depth) in enumerate(
        zip(individual.sulci, growth.sulcal_depths, strict=True)
    ):
        depth = depth / growth.scale
        if depth * growth.scale < 0.8:
            continue
        values, gradients = waves.evaluate(mapped, normals)
        # The map stretches around the axis with the distance from it, but not along the axis.
        gradients[:, 0] *= FOLD_RADIUS / distance_to_axis
        gradients[:, 2] *= FLATTENING * FOLD_RADIUS / distance_to_axis
        steepness = np.linalg.norm(gradients, axis=-1)
        sheet = np.abs(values) / (steepness + np.float32(1e-6))
        sulcus_depth = depth * np.clip(1 + np.float32(0.15) * variation * (1 + order), 0.5, 1.3)
        if order:
            # Later sulci form on the gyri between earlier ones, not inside their banks.
            sulcus_depth = sulcus_depth * smooth_step(nearest_sheet, 2.5, 6.0)
        gap = growth.sulcal_opening / growth.scale * np.clip(1 - outer / (sulcus_depth + 0.5), 0, 1)
        half_width = np.float32(0.2) + gap / 2
        distance = block((sheet - half_width, outer - sulcus_depth))
        pia = np.where(sulcus_depth > 0.8, np.minimum(pia, distance), pia)
        nearest_sheet = np.minimum(nearest_sheet, sheet)
    return pia


def _project(points: Sequence[Floats]) -> tuple[Floats, Floats, Floats]:
    """Return nearest points on the fold axis `[N, 3]`, unit directions from them, and distances."""
    back = np.asarray(FOLD_AXIS_BACK, np.float32)
    front = np.asarray(FOLD_AXIS_FRONT, np.float32)
    stacked = np.stack(points, axis=-1)
    stacked[:, 2] = back[2] + (stacked[:, 2] - back[2]) * FLATTENING
    share = np.clip((stacked[:, 1] - back[1]) / (front[1] - back[1]), 0, 1)
    anchors = back + share[:, None] * (front - back)
    normals = stacked - anchors
    distance = np.linalg.norm(normals, axis=-1) + np.float32(1e-3)
    return anchors, normals / distance[:, None], distance
