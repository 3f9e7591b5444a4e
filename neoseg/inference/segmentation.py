"""What segmenting a scan gives."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from neoseg.inference.probability import ClassProbabilities
from neoseg.store import Geometry, to_native


@dataclass(frozen=True)
class Segmentation:
    """Leaf positions uint8 `[X, Y, Z]` on the scan's full grid in canonical axes, the first
    channel on the prepared grid, how the two relate, and the class probabilities asked for.
    """

    leaves: np.ndarray
    prepared_leaves: np.ndarray
    image: np.ndarray
    geometry: Geometry
    probabilities: ClassProbabilities | None = None

    @property
    def native(self) -> np.ndarray:
        """Leaf positions in the file's own axis order and directions."""
        return to_native(self.leaves, self.geometry)
