"""Slices with prediction and truth as W&B masks, which can be toggled class by class."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from neoseg.inference.planes import Plane
from neoseg.labels import UNKNOWN, Codebook

if TYPE_CHECKING:
    import wandb


def masked_images(caption: str, planes: Sequence[Plane], codebook: Codebook) -> list[wandb.Image]:
    """Return an image per plane with the masks "prediction" and "truth", which share their classes.

    The truth is the annotation as given: a merged label set is a class of its own.

    Args:
        caption: shown with the name of the plane.
        planes: slices to show.
        codebook: names the classes of both masks.
    """
    import wandb

    numbers = mask_numbers(codebook)
    labels = {int(numbers[code]): name for code, name in enumerate(codebook.names)}
    images = []
    for plane in planes:
        layers = {"prediction": plane.prediction, "truth": plane.truth}
        masks = {
            name: {"mask_data": numbers[layer], "class_labels": labels}
            for name, layer in layers.items()
        }
        text = f"{caption}, {plane.name}"
        images.append(wandb.Image(plane.image, mode="L", caption=text, masks=masks))
    return images


def mask_numbers(codebook: Codebook) -> np.ndarray:
    """Return uint8 `[R]`: the mask value of each code; 0 is the background."""
    numbers = np.arange(codebook.size, dtype=np.uint8)
    background = codebook.space.background + 1
    numbers[[background, UNKNOWN]] = UNKNOWN, background
    return numbers
