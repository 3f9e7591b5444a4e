"""The result of segmenting a scan."""

from dataclasses import dataclass

import numpy as np

from neoseg.inference.probability import ClassProbabilities
from neoseg.store import Geometry, to_native


@dataclass(frozen=True)
class Segmentation:
    """Leaf positions of a scan, uint8 `[X, Y, Z]` in canonical axes.

    Attributes:
        leaves: on the full grid of the scan.
        prepared_leaves: on the prepared grid.
        image: first channel of the network's input, on the prepared grid.
        geometry: relation of the two grids.
        probabilities: of the requested classes, None without any.
    """

    leaves: np.ndarray
    prepared_leaves: np.ndarray
    image: np.ndarray
    geometry: Geometry
    probabilities: ClassProbabilities | None = None

    @property
    def native(self) -> np.ndarray:
        """Leaf positions in the axis order and directions of the file."""
        return to_native(self.leaves, self.geometry)
