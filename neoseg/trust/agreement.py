"""The Dice that the probabilities of a segmentation lead one to expect, for each class."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from neoseg.inference.segmentation import Segmentation
from neoseg.labels import LabelSpace
from neoseg.trust.appearance import appearance

SCAN = "scan"
"""The mean over the structures of a scan, among the names of classes."""


class Agreement:
    """Twice what the votes give to a class where it was decided, over all that it got.

    With p the probability of the class and D the voxels decided as it, 2 sum_D p / (|D| + sum p) is
    the Dice of D with the votes. For an ensemble (or mirrored views) p is the mean of the members'
    votes, so it falls where they contradict each other, and where each of them is unsure. It is no
    Dice yet: networks are too sure of themselves, and calibration says by how much.
    """

    def __init__(self, space: LabelSpace) -> None:
        self._space = space
        self._mass = np.zeros((space.num_leaves, space.num_leaves))
        self._voxels = np.zeros(space.num_leaves)

    def add(self, leaves: np.ndarray, probabilities: Tensor) -> None:
        """Count a piece: decisions `[N]` and leaf probabilities `[K, N]`."""
        values = probabilities.float().cpu()
        decided = torch.from_numpy(leaves.astype(np.int64))
        mass = torch.zeros(len(values), len(values)).index_add_(1, decided, values)
        self._mass += mass.numpy()  # [probability of, decided as]
        self._voxels += np.bincount(leaves, minlength=len(values))

    @property
    def expected(self) -> dict[str, float]:
        """The values, 0 to 1, of the classes that have voxels, by abbreviation."""
        table = self._space.class_leaves.astype(float)
        got, voxels = table @ self._mass, table @ self._voxels  # [C, K] and [C]
        agreed = (got * table).sum(axis=1)
        return {
            entry.abbreviation: float(2 * agreed[c] / (voxels[c] + got[c].sum()))
            for c, entry in enumerate(self._space.classes)
            if voxels[c] and c != self._space.background
        }

    def appearance(self, found: Segmentation) -> dict[str, float]:
        """Return what the scan that was segmented looks like."""
        labelled = found.prepared_leaves != self._space.background
        agreed = with_mean(self.expected, self._space).get(SCAN, 0.0)
        return appearance(found.image, found.geometry, labelled, agreed)


def with_mean(values: Mapping[str, float], space: LabelSpace) -> dict[str, float]:
    """Return values by class, with their mean over the structures that have one as `SCAN`."""
    own = [values[leaf.abbreviation] for leaf in space.leaves if leaf.abbreviation in values]
    return {**values, **({SCAN: float(np.mean(own))} if own else {})}
