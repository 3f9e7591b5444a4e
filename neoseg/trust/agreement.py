"""Expected Dice of each class, from the probabilities of a segmentation."""

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from neoseg.inference.segmentation import Segmentation
from neoseg.labels import LabelSpace
from neoseg.trust.appearance import appearance

SCAN = "scan"
"""Key of the mean over the structures of a scan, among the abbreviations of classes."""


class Agreement:
    """Soft Dice between the decisions and the probabilities, accumulated piece by piece.

    With p the probability of a class and D the voxels decided as that class, it is
    2 sum_D p / (|D| + sum p). For an ensemble (or mirrored views) p is the mean over the members,
    so the value falls if they disagree or are unsure. It overestimates the true Dice, because
    networks are overconfident; calibration corrects it.
    """

    def __init__(self, space: LabelSpace) -> None:
        self._space = space
        self._mass = np.zeros((space.num_leaves, space.num_leaves))
        self._voxels = np.zeros(space.num_leaves)

    def add(self, leaves: np.ndarray, probabilities: Tensor) -> None:
        """Accumulate a piece: decisions `[N]` and leaf probabilities `[K, N]`."""
        values = probabilities.float().cpu()
        decided = torch.from_numpy(leaves.astype(np.int64))
        mass = torch.zeros(len(values), len(values)).index_add_(1, decided, values)
        self._mass += mass.numpy()  # [probability of, decided as]
        self._voxels += np.bincount(leaves, minlength=len(values))

    @property
    def expected(self) -> dict[str, float]:
        """Abbreviation -> value, 0 to 1, of the classes with decided voxels, without background."""
        table = self._space.class_leaves.astype(float)
        received, voxels = table @ self._mass, table @ self._voxels  # [C, K] and [C]
        agreed = (received * table).sum(axis=1)
        return {
            entry.abbreviation: float(2 * agreed[c] / (voxels[c] + received[c].sum()))
            for c, entry in enumerate(self._space.classes)
            if voxels[c] and c != self._space.background
        }

    def appearance(self, found: Segmentation) -> dict[str, float]:
        """Return the appearance of the segmented scan, see `neoseg.trust.appearance`."""
        labelled = found.prepared_leaves != self._space.background
        agreed = with_mean(self.expected, self._space).get(SCAN, 0.0)
        return appearance(found.image, found.geometry, labelled, agreed)


def with_mean(values: Mapping[str, float], space: LabelSpace) -> dict[str, float]:
    """Add the mean over the structures (leaves) with a value under the key `SCAN`."""
    structure_values = [
        values[leaf.abbreviation] for leaf in space.leaves if leaf.abbreviation in values
    ]
    return {**values, **({SCAN: float(np.mean(structure_values))} if structure_values else {})}
