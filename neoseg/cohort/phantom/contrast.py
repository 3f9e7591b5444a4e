"""Turn anatomy into T2w and T1w intensities of a newborn, as they change with age.

Intensities are relative to cerebrospinal fluid on T2w (1.0) and to myelinated white matter on
T1w (about 1.0). In newborns white matter is brighter than cortex on T2w and darker on T1w.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from neoseg.cohort.phantom.anatomy import Block
from neoseg.cohort.phantom.parcels import ANATOMY, structures
from neoseg.cohort.phantom.shapes import Floats, ellipsoid, smooth_step

MEANS: dict[str, list[float]] = ANATOMY["means"]
DEEP = ("caudate", "lentiform", "thalamus high", "thalamus low", "subthalamic", "remainder")
BONE, SCALP, MUSCLE = (0.10, 0.12), (0.50, 0.95), (0.30, 0.45)
EYE, AIR = (1.05, 0.18), (0.015, 0.015)


@dataclass(frozen=True)
class Contrast:
    """Mean intensities `[2, 88]` of the structures, and the strength of variation inside them."""

    means: NDArray[np.float32]
    texture: float
    layering: float
    myelin: float


def draw_contrast(
    rng: np.random.Generator, maturity: float, layering: float, strength: float
) -> Contrast:
    """Draw one scan's tissue means; `strength` scales how much they differ between subjects."""
    table = {kind: np.array(row, np.float64).reshape(2, 2) for kind, row in MEANS.items()}
    jitter = 0.035 * strength
    shared_offset = rng.normal(0, jitter, 2)
    means = {}
    for kind, row in table.items():
        mean = row[:, 0] + (row[:, 1] - row[:, 0]) * maturity
        if kind in DEEP:
            mean = mean + shared_offset
        if kind not in ("csf", "ventricle"):
            mean = mean + rng.normal(0, 0.7 * jitter, 2)
        means[kind] = mean
    # The overall soft-tissue contrast varies between scans, and so does the intensity response.
    gain = np.exp(rng.normal(0, 0.18 * strength, 2))
    gamma = np.exp(rng.normal(0, 0.12 * strength, 2))
    middle = np.array([0.53, 0.58])
    soft = {
        k: middle + gain * (m - middle) for k, m in means.items() if k not in ("csf", "ventricle")
    }
    for channel in range(2):
        _keep_order(soft, channel)
    means.update(soft)
    lookup = np.zeros((2, 88), np.float32)
    for structure in structures():
        lookup[:, structure.index] = np.clip(means[structure.contrast], 0.05, None) ** gamma
    return Contrast(
        means=lookup,
        texture=0.022 * float(np.exp(rng.normal(0, 0.3))),
        layering=layering * float(np.exp(rng.normal(0, 0.3))),
        myelin=maturity**1.5 * float(np.exp(rng.normal(0, 0.2))),
    )


def _keep_order(soft: dict[str, np.ndarray], channel: int) -> None:
    """Keep a minimal contrast between white matter and cortex, which must never be inverted."""
    sign = 1 if channel == 0 else -1
    gap = sign * (soft["white matter"][channel] - soft["cortex"][channel])
    if gap < 0.11:
        soft["white matter"][channel] += sign * (0.11 - gap) / 2
        soft["cortex"][channel] -= sign * (0.11 - gap) / 2
    if channel == 0:
        soft["white matter"][channel] = min(soft["white matter"][channel], 0.86)


def paint_intensity(block: Block, contrast: Contrast, voxel: float) -> Floats:
    """Return noise-free T2w and T1w intensities `[2, X, Y, Z]` of a block of `voxel` mm voxels."""
    labels = block.labels
    image = contrast.means[:, labels]
    lateral, y = np.abs(block.position[0]), block.position[1]
    cerebral = (labels >= 5) & (labels <= 16) | (labels >= 20) & (labels <= 39)
    white = (labels >= 51) & (labels <= 82)
    csf_near = (labels == 83) & (block.pia > -voxel) & (block.hindbrain.cerebellum < 0)
    _add_white_matter(image, white, block, contrast)

    # Blend the borders of the ribbon, as a sulcus is often thinner than a voxel.
    ribbon = cerebral | white | csf_near
    pia, thick = block.pia[ribbon] / voxel, block.thickness[ribbon] / voxel
    outside = np.clip(0.5 - pia, 0, 1)
    beneath = np.clip(0.5 + pia - thick, 0, 1) * white[ribbon]
    for channel in range(2):
        means = contrast.means[channel]
        inner = np.where(white[ribbon], image[channel][ribbon], means[66])
        image[channel][ribbon] = (
            outside * means[83] + beneath * inner + (1 - outside - beneath) * means[36]
        )

    cerebellum = (labels == 17) | (labels == 18)
    depth = block.hindbrain.cerebellum[cerebellum]
    folia = np.sin(block.hindbrain.folia[cerebellum])
    fissure = smooth_step(folia, 0.5, 1.0) * smooth_step(-depth, -7, -2)
    arbor = smooth_step(depth, 3, 7) + 0.6 * smooth_step(-folia, 0.2, 0.9) * (depth > 1.5)
    for channel, sign in enumerate((1, -1)):
        mature = np.float32(1 - 0.8 * contrast.myelin)
        image[channel][cerebellum] += sign * (0.26 * fissure + 0.13 * mature * arbor)
    stem = labels == 19
    for channel, sign in enumerate((-1, 1)):
        dorsal = smooth_step(-y[stem], 8, 20)
        image[channel][stem] += sign * np.float32(0.08) * (dorsal - 0.4)
    lentiform = (labels == 46) | (labels == 47)
    medial = 1 - smooth_step(lateral[lentiform], 15, 26)
    image[0][lentiform] += np.float32(0.05) * (medial - 0.5)
    image[1][lentiform] -= np.float32(0.04) * (medial - 0.5)

    _paint_surroundings(image, block)
    brain = (labels > 0) & (labels != 84)
    texture = np.where((labels == 83) | (labels == 49) | (labels == 50), 0.3, 1.0)
    for channel in range(2):
        image[channel] *= 1 + contrast.texture * block.texture[channel] * texture * brain
    return np.clip(image, 0, None, out=image)


def _add_white_matter(
    image: Floats, white: NDArray[np.bool_], block: Block, contrast: Contrast
) -> None:
    """Add the layers of immature white matter and the myelin of the internal capsule."""
    x, y, z = (axis[white] for axis in block.position)
    beneath = block.pia[white] - block.thickness[white]
    subplate = np.exp(-((beneath / 2.2) ** 2)) - np.exp(-(((beneath - 6.5) / 2.4) ** 2))
    periventricular = smooth_step(block.ventricle[white], -5, -1)
    crossroads = smooth_step(np.abs(y), 18, 45)
    layers = contrast.layering * (0.08 * subplate - 0.16 * periventricular) + 0.05 * crossroads
    capsule = np.clip(ellipsoid((np.abs(x), y, z), (16.5, -5, 6), (4, 10, 12)), 0, 1)
    corona = smooth_step(z, 18, 34) * smooth_step(-np.abs(y + 8), -14, -3)
    myelin = contrast.myelin * (0.20 * capsule + 0.06 * corona) + 0.05 * capsule
    image[0][white] += layers - myelin
    image[1][white] -= 0.7 * layers - 0.9 * myelin


def _paint_surroundings(image: Floats, block: Block) -> None:
    """Fill in bone, scalp, face, eyes and neck around the cavity."""
    around = (block.labels == 84) | (block.labels == 0)
    x, y, z = (axis[around] for axis in block.position)
    outside = -block.cavity[around]
    flesh = np.maximum(
        ellipsoid((x, y, z), (0, 38, -38), (30, 26, 24)),
        ellipsoid((x, y), (0, -22), (26, 24)) * (z < -18),
    )
    eyes = ellipsoid((np.abs(x), y, z), (17, 50, -25), (8, 8, 8)) > 0
    for channel in range(2):
        values = np.full(outside.shape, AIR[channel], np.float32)
        muscle = MUSCLE[channel] * (1 + np.float32(0.5) * block.texture[channel][around])
        values = np.where(flesh > 0, muscle, values)
        values = np.where(outside < 6.0, SCALP[channel], values)
        values = np.where(outside < 2.2, BONE[channel], values)
        values = np.where(outside < 0.5, 0.35, values)
        image[channel][around] = np.where(eyes & (outside > 2), EYE[channel], values)
