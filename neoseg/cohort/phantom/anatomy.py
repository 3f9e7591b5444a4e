"""Compose the structures of one head and label every voxel of a grid."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from neoseg.cohort.phantom.cerebrum import Cerebrum, shape_cerebrum
from neoseg.cohort.phantom.growth import Growth
from neoseg.cohort.phantom.hindbrain import Hindbrain, cavity_depth, shape_hindbrain
from neoseg.cohort.phantom.individual import Individual
from neoseg.cohort.phantom.nuclei import CSF, paint_nuclei
from neoseg.cohort.phantom.parcels import (
    CORTEX,
    EXTRACRANIAL,
    OUTSIDE,
    WHITE_MATTER,
    parcel_labels,
    tissue_lookup,
)
from neoseg.cohort.phantom.shapes import Floats, ellipsoid

BRAINSTEM, CORPUS_CALLOSUM, BASAL_REMAINDER = 19, 48, 85
LEFT_CEREBELLUM, RIGHT_CEREBELLUM = 17, 18
VIEW_MARGIN = 9.0
"""Label 84 reaches this many mm beyond the skull's inner table; further out is 0."""


@dataclass(frozen=True)
class Pose:
    """Pose of the head in the scanner: rotation `[3, 3]` and translation in mm."""

    rotation: NDArray[np.float64]
    translation: NDArray[np.float64]


@dataclass(frozen=True)
class Block:
    """Labels `[X, Y, Z]` and the fields that define the contrast; depths in mm of the real head."""

    labels: NDArray[np.uint8]
    position: Floats
    pia: Floats
    thickness: Floats
    cavity: Floats
    ventricle: Floats
    hindbrain: Hindbrain
    texture: Floats
    scale: float


def build_block(
    axes: Sequence[Floats], growth: Growth, individual: Individual, pose: Pose
) -> Block:
    """Label the grid spanned by three axes in scanner mm (x right, y anterior, z superior)."""
    scale = growth.scale
    reference = [
        ((axis - shift) / (scale * stretch)).astype(np.float32)
        for axis, shift, stretch in zip(axes, pose.translation, individual.stretch, strict=True)
    ]
    moved = individual.coarse.on_grid(reference) + individual.fine.on_grid(reference)
    mesh = np.meshgrid(*reference, indexing="ij", sparse=True)
    position = moved
    for row in range(3):
        for column in range(3):
            position[row] += np.float32(pose.rotation[row, column]) * mesh[column]
    texture = individual.texture.on_grid(reference)
    x, y, z = position
    bend = individual.sulcal_bend.on_grid(reference)
    cerebrum = shape_cerebrum(x, y, z, bend, growth, individual)
    hindbrain = shape_hindbrain(x, y, z, growth.cerebellum_scale * individual.cerebellum)
    cavity = cavity_depth(cerebrum.hull, hindbrain, growth.csf_width * individual.csf / scale)
    cavity = np.minimum(cavity, z + 45)
    thickness = growth.cortical_thickness * individual.thickness * (1 + 0.1 * texture[2])

    labels = np.full(x.shape, OUTSIDE, np.uint8)
    labels[cavity * scale > -VIEW_MARGIN] = EXTRACRANIAL
    labels[cavity > 0] = CSF
    ventricle = np.full(x.shape, -99.0, np.float32)
    _paint_cerebrum(
        labels, ventricle, position, cerebrum, thickness / scale, growth, individual, reference
    )
    _paint_hindbrain(labels, x, cerebrum, hindbrain)
    return Block(
        labels=labels,
        position=position,
        pia=cerebrum.pia * scale,
        thickness=thickness,
        cavity=cavity * scale,
        ventricle=ventricle * scale,
        hindbrain=hindbrain,
        texture=texture,
        scale=scale,
    )


def _paint_cerebrum(
    labels: NDArray[np.uint8],
    ventricle: Floats,
    position: Floats,
    cerebrum: Cerebrum,
    thickness: Floats,
    growth: Growth,
    individual: Individual,
    reference: Sequence[Floats],
) -> None:
    tissue = (cerebrum.pia > 0) & (labels == CSF)
    if not tissue.any():
        return
    x, y, z = (axis[tissue] for axis in position)
    pia, core = cerebrum.pia[tissue], cerebrum.core[tissue]
    # No cortex covers the underside between the temporal lobes, where the brainstem enters.
    uncovered = ellipsoid((x, y, z), (0, -4, -10), (14, 21, 13)) > 0
    cortex = (pia < thickness[tissue]) & ~uncovered
    borders = [field[tissue] for field in individual.parcel_borders.on_grid(reference)]
    parcels = parcel_labels([x + borders[0] * np.sign(x), y + borders[1], z + borders[2]], cortex)
    # The border noise must not move a voxel over the midline.
    crossed = (x + borders[0] * np.sign(x) >= 0) != (x >= 0)
    if crossed.any():
        parcels[crossed] = parcel_labels([x[crossed], y[crossed], z[crossed]], cortex[crossed])
    parcels[uncovered & (z < -5) & (core > 0) & (np.abs(x) < 6)] = BASAL_REMAINDER
    deep = (np.abs(x) < 34) & (np.abs(y) < 48) & (z > -24) & (z < 32)
    if deep.any():
        painted = parcels[deep]
        depth = paint_nuclei(
            painted,
            (x[deep], y[deep], z[deep]),
            individual,
            growth.ventricle_scale,
            growth.cavum_width / growth.scale,
        )
        parcels[deep] = painted
        tissue_depth = np.full(parcels.shape, -99.0, np.float32)
        tissue_depth[deep] = depth
        ventricle[tissue] = tissue_depth
    callosal = (core > 0) & (core < 2.6 / growth.scale + 0.8) & (np.abs(x) < 9) & (z > 3)
    parcels[callosal] = CORPUS_CALLOSUM
    labels[tissue] = parcels


def _paint_hindbrain(
    labels: NDArray[np.uint8], x: Floats, cerebrum: Cerebrum, hindbrain: Hindbrain
) -> None:
    tissues = tissue_lookup()[labels]
    grey_or_white = (tissues == CORTEX) | (tissues == WHITE_MATTER)
    replaceable = (labels == CSF) | grey_or_white | (labels == BASAL_REMAINDER)
    stem = (hindbrain.brainstem > 0) & replaceable & (labels != CORPUS_CALLOSUM)
    labels[stem] = BRAINSTEM
    cerebellum = (hindbrain.cerebellum > 0) & (labels == CSF) & (cerebrum.hull < -0.6)
    labels[cerebellum & (x < 0)] = LEFT_CEREBELLUM
    labels[cerebellum & (x >= 0)] = RIGHT_CEREBELLUM
    labels[(hindbrain.fourth_ventricle > 0) & (cerebellum | stem)] = CSF
