"""Nested classes: for each leaf the ever larger answers that still hold it.

A set for a voxel is the smallest class of its chain that is probable enough. Chains are fixed by
the label table alone, so a set is a class with a name, it only grows as more certainty is asked for
(which conformal risk control needs), and the same voxel always widens the same way. Free sets of
leaves would be smaller, but a map of them has up to 2^K values without a name.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from neoseg.labels import LabelSpace
from neoseg.labels.space import LabelClass

UNKNOWN = "unknown"
GREY = "#808080"


@dataclass(frozen=True)
class Chains:
    """Answers, and for each leaf those that hold it, each within the next.

    Attributes:
        space: of the K leaves.
        answers: the classes of the table, and "unknown" where none has all leaves.
        places: int `[K, D]`, positions in `answers`: first the leaf, then the smallest class that
            holds the one before, in the table's order where several are as small. The last is all
            leaves; shorter chains repeat it.
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
                now = answers[row[-1]].leaves
                above = [n for n, entry in enumerate(answers) if now < entry.leaves]
                row.append(min(above, key=lambda n: (len(answers[n].leaves), n)))
            rows.append(row)
        longest = max(map(len, rows))
        places = [row + row[-1:] * (longest - len(row)) for row in rows]
        return cls(space, tuple(answers), np.array(places))

    @property
    def depth(self) -> np.ndarray:
        """Float `[A]`: what an answer tells, 1 (a leaf) to 0 (nothing): 1 - log |S| / log K."""
        total = math.log(self.space.num_leaves)
        return np.array([1 - math.log(len(entry.leaves)) / total for entry in self.answers])

    @property
    def members(self) -> np.ndarray:
        """Bool `[A, K]`: the leaves of each answer."""
        table = np.zeros((len(self.answers), self.space.num_leaves), dtype=bool)
        for row, entry in enumerate(self.answers):
            table[row, sorted(entry.leaves)] = True
        return table

    def doubts(self, probabilities: Tensor) -> tuple[np.ndarray, np.ndarray]:
        """Return what a voxel is decided to be, and the probability outside of each of its answers.

        Args:
            probabilities: of the leaves, `[K, N]`, which add up to 1.

        Returns:
            leaves `[N]`, and doubts float32 `[D, N]`, which fall along the chain to 0. They are
            summed over the leaves outside, so that small ones stay exact.
        """
        values = probabilities.float().cpu()
        outside = torch.as_tensor(~self.members, dtype=torch.float32) @ values
        # As decoding does on a CPU: of equal ones the first.
        leaves = values.numpy().argmax(axis=0)
        doubts = np.take_along_axis(outside.numpy(), self.places[leaves].T, axis=0)
        return leaves, np.minimum.accumulate(doubts, axis=0)

    def needed(self, rows: np.ndarray) -> np.ndarray:
        """Return the step of the chain of each leaf at which it first meets each label set.

        Args:
            rows: bool `[R, K]`, label sets.

        Returns:
            int `[K, R]`.
        """
        meets = (self.members[self.places].astype(int) @ rows.T.astype(int)) > 0  # [K, D, R]
        found: np.ndarray = meets.argmax(axis=1)
        return found
