"""Appearance of a patch: drawing intensity changes, and applying them to images.

Changes are drawn in NumPy and applied in torch, in a loader process or on the accelerator, by the
same code and item by item, so that no patch depends on others in its batch. On a CPU one thread is
used, whatever the process has, since rounding of products and sums depends on the threads. For the
same seed an accelerator draws other noise than a CPU.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from neoseg.augment.intensity import Intensity, draw_intensity
from neoseg.augment.label_contrast import Groups, LabelContrast, draw_label_contrast
from neoseg.augment.settings import AugmentSettings
from neoseg.processes import one_thread


@dataclass(frozen=True)
class ChannelAppearance:
    """Changes drawn for one channel, with mean and standard deviation of the patch as cut."""

    mean: float
    deviation: float
    contrast: LabelContrast | None
    intensity: Intensity | None

    @property
    def parts(self) -> tuple[str, ...]:
        """Names of the changes, in the order in which they are applied."""
        first = () if self.contrast is None else ("label contrast",)
        return first + (() if self.intensity is None else self.intensity.parts)


Appearance = tuple[ChannelAppearance, ...]


def draw_appearance(
    image: np.ndarray, settings: AugmentSettings, groups: Groups | None, rng: np.random.Generator
) -> Appearance:
    """Draw an appearance of `image` (float32 `[M, X, Y, Z]`), each channel independently.

    `groups` are those of `settings.label_contrast`.
    """
    extra, contrasts = rng.spawn(2)
    size = image.shape[1], image.shape[2], image.shape[3]
    appearance = []
    for channel in image:
        contrast = intensity = None
        redrawn = settings.label_contrast
        if redrawn is not None and redrawn.probability and groups is not None:
            contrast = draw_label_contrast(redrawn, groups, contrasts, size)
        if settings.intensity is not None:
            intensity = draw_intensity(settings.intensity, rng, extra, size)
        mean, deviation = 0.0, 1.0
        if contrast is not None or (intensity is not None and intensity.needs_statistics):
            mean = float(channel.mean(dtype=np.float64))
            deviation = float(channel.std(dtype=np.float64)) + 1e-6
        appearance.append(ChannelAppearance(mean, deviation, contrast, intensity))
    return tuple(appearance)


@torch.no_grad()
def apply_appearances(image: Tensor, codes: Tensor, appearances: Sequence[Appearance]) -> Tensor:
    """Return the images of a batch with their appearances applied.

    Args:
        image: float32 `[B, M, X, Y, Z]`, as cut.
        codes: uint8 `[B, X, Y, Z]`, flipped along with the patch.
        appearances: one per item.
    """
    if not any(channel.parts for appearance in appearances for channel in appearance):
        return image
    result = torch.empty_like(image)
    with one_thread(image.device):
        for item, appearance in enumerate(appearances):
            for number, channel in enumerate(appearance):
                x = image[item, number]
                if channel.contrast is not None:
                    x = channel.contrast.apply(x, codes[item], channel.mean, channel.deviation)
                if channel.intensity is not None:
                    x = channel.intensity.apply(x, channel.mean, channel.deviation)
                result[item, number] = x
    return result
