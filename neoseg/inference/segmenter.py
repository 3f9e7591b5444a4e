"""From the files of a scan to a label map on the scan's own grid."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn

from neoseg.data import Geometry, PrepareSettings, prepare_images, to_canonical, to_native
from neoseg.inference.window import WindowSettings, predict_volume
from neoseg.networks import Head


@dataclass(frozen=True)
class Segmentation:
    """Leaf positions uint8 `[X, Y, Z]` on the scan's full grid in canonical axes, the first
    channel on the prepared grid, and how the two relate.
    """

    leaves: np.ndarray
    prepared_leaves: np.ndarray
    image: np.ndarray
    geometry: Geometry

    @property
    def native(self) -> np.ndarray:
        """Leaf positions in the file's own axis order and directions."""
        return to_native(self.leaves, self.geometry)


@dataclass(frozen=True)
class Segmenter:
    """A network with everything that is needed to segment a scan from disk."""

    network: nn.Module
    head: Head
    window: WindowSettings
    prepare: PrepareSettings
    device: torch.device

    def segment(self, images: Sequence[Path | None]) -> Segmentation:
        """Segment one scan given one path per modality (None where it is missing).

        Raises:
            DataError: images that cannot be read or do not share a grid.
        """
        image, geometry = prepare_images(images, self.prepare)
        volume = torch.from_numpy(image)
        leaves = predict_volume(self.network, volume, self.head, self.window, self.device)
        full = to_canonical(leaves, geometry, self.head.space.background)
        return Segmentation(full, leaves, image[0], geometry)
