"""Chains of nested classes: for each leaf, increasingly large answers that contain it.

The label set of a voxel is the smallest class of its chain that is probable enough. Chains depend
on the label table alone, so every set is a named class, sets only grow with the required certainty
(as conformal risk control needs), and a leaf is always widened in the same way. Arbitrary sets of
leaves would be smaller, but a map of them could have 2^K values without names.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from neoseg.labels import LabelSpace
from neoseg.labels.space import LabelClass, table_of_leaves

UNKNOWN = "unknown"
GREY = "#808080"


@dataclass(frozen=True)
class Chains:
    """All answers, and for each leaf the chain of nested answers that contain it.

    Attributes:
        space: label space of the K leaves.
        answers: the classes of the table, and "unknown" if none of them contains all leaves.
        places: int `[K, D]`, indices into `answers`: the leaf, then repeatedly the smallest class
            that contains the previous one (ties: the first of the table). The last is the class of
            all leaves; shorter chains repeat it.
    """

    space: LabelSpace
    answers: tuple[LabelClass, ...]
    places: np.ndarray

    @classmethod
    def of(cls, space: LabelSpace) -> Chains:
        """Return the chains of a label space."""
        answers = list(space.classes)
        if all(entry.leaves != space.everything for entry in answers):
            answers.append(LabelClass(UNKNOWN, UNKNOWN, space.everything, GREY))
        rows = []
        for leaf in range(space.num_leaves):
            row = [leaf]
            while answers[row[-1]].leaves != space.everything:
                current = answers[row[-1]].leaves
                above = [n for n, entry in enumerate(answers) if current < entry.leaves]
                row.append(min(above, key=lambda n: (len(answers[n].leaves), n)))
            rows.append(row)
        longest = max(map(len, rows))
        places = [row + row[-1:] * (longest - len(row)) for row in rows]
        return cls(space, tuple(answers), np.array(places))

    @property
    def depth(self) -> np.ndarray:
        """Float `[A]`: information of an answer, 1 - log |S| / log K; 1 for a leaf, 0 for all."""
        total = math.log(self.space.num_leaves)
        return np.array([1 - math.log(len(entry.leaves)) / total for entry in self.answers])

    @property
    def members(self) -> np.ndarray:
        """Bool `[A, K]`: the leaves of each answer."""
        return table_of_leaves((entry.leaves for entry in self.answers), self.space.num_leaves)

    def doubts(self, probabilities: Tensor) -> tuple[np.ndarray, np.ndarray]:
        """Return each voxel's decided leaf, and the probability outside of its chain's answers.

        Args:
            probabilities: leaf probabilities `[K, N]`, which sum to 1.

        Returns:
            leaves `[N]`, and doubts float32 `[D, N]`, which decrease along the chain to 0. They are
            sums over the leaves outside of the answer, so that small doubts stay precise.
        """
        values = probabilities.float().cpu()
        outside = torch.as_tensor(~self.members, dtype=torch.float32) @ values
        # Ties go to the first leaf, as in decoding on a CPU.
        leaves = values.numpy().argmax(axis=0)
        doubts = np.take_along_axis(outside.numpy(), self.places[leaves].T, axis=0)
        return leaves, np.minimum.accumulate(doubts, axis=0)

    def needed(self, rows: np.ndarray) -> np.ndarray:
        """Return the first step of each leaf's chain whose answer intersects each label set.

        Args:
            rows: bool `[R, K]`, label sets.

        Returns:
            int `[K, R]`.
        """
        meets = (self.members[self.places].astype(int) @ rows.T.astype(int)) > 0  # [K, D, R]
        steps: np.ndarray = meets.argmax(axis=1)
        return steps
