"""Shape the brainstem, the cerebellum, the fourth ventricle and the cavity around the brain."""

from dataclasses import dataclass

import numpy as np

from neoseg.cohort.phantom.shapes import Floats, ellipsoid, smooth_maximum, tube

HINGE = (0.0, -20.0, -13.0)
"""Point behind the midbrain from which the cerebellum grows, in reference mm."""


@dataclass(frozen=True)
class Hindbrain:
    """Depths `[X, Y, Z]` in reference mm, and the phase of the cerebellar folia in radians."""

    brainstem: Floats
    cerebellum: Floats
    fourth_ventricle: Floats
    folia: Floats


def shape_hindbrain(x: Floats, y: Floats, z: Floats, cerebellum_scale: float) -> Hindbrain:
    """Return the depths at points in reference mm; `cerebellum_scale` is relative to 40 weeks."""
    brainstem = tube(
        (x, y, z),
        ((0, -12, -9), (0, -11, -14), (0, -9, -21), (0, -15, -35), (0, -20, -52)),
        (6.6, 7.2, 9.2, 5.8, 4.6),
    )
    factor = np.float32(cerebellum_scale)
    xc, yc, zc = ((p - h) / factor for p, h in zip((x, y, z), HINGE, strict=True))
    lobes = ellipsoid((np.abs(xc), yc, zc), (12, -15, -8.5), (12.5, 14, 11.5))
    vermis = ellipsoid((xc, yc, zc), (0, -12, -7), (7, 12, 10.5))
    # Folia fan out from the roof of the fourth ventricle.
    angle = np.arctan2(zc + 7, -(yc - 2) + np.float32(1e-3))
    return Hindbrain(
        brainstem=brainstem,
        cerebellum=smooth_maximum(lobes, vermis, 3) * factor,
        fourth_ventricle=ellipsoid((x, y, z), (0, -21.5, -24), (4, 3, 6)),
        folia=angle * 16 + 0.8 * np.sin(np.abs(xc) / 3),
    )


def cavity_depth(hull: Floats, hindbrain: Hindbrain, csf_width: float) -> Floats:
    """Return the depth inside the skull: a smoothed outline of the brain, `csf_width` mm wider."""
    hindbrain_depth = smooth_maximum(hindbrain.cerebellum, hindbrain.brainstem, 6)
    return smooth_maximum(hull, hindbrain_depth, 9) + np.float32(csf_width)
