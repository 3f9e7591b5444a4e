"""The result of segmenting a scan."""

from dataclasses import dataclass, field

import numpy as np

from neoseg.inference.probability import ClassProbabilities
from neoseg.store import Geometry, PrepareSettings, to_native


@dataclass(frozen=True)
class Segmentation:
    """Leaf positions of a scan, uint8 `[X, Y, Z]` in canonical axes.

    Attributes:
        leaves: on the full grid of the scan.
        prepared_leaves: on the prepared grid.
        image: first channel of the network's input, on the prepared grid.
        geometry: relation of the two grids.
        probabilities: of the requested classes, None without any.
        prepare: how the image was prepared.
    """

    leaves: np.ndarray
    prepared_leaves: np.ndarray
    image: np.ndarray
    geometry: Geometry
    probabilities: ClassProbabilities | None = None
    prepare: PrepareSettings = field(default_factory=PrepareSettings)

    @property
    def native(self) -> np.ndarray:
        """Leaf positions in the axis order and directions of the file."""
        return to_native(self.leaves, self.geometry)
