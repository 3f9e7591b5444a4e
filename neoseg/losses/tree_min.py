"""Tree-min: cross-entropy on probabilities made consistent with the hierarchy."""

from __future__ import annotations

from typing import Annotated

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from neoseg.labels import Codebook
from neoseg.losses.noisy_or import log_any
from neoseg.losses.term import MULTILABEL, LossTerm, Prediction, look_up


class TreeMin(LossTerm):
    """Cross-entropy in which a class answers for its super-classes or its sub-classes.

    A class known positive enters with the lowest y among itself and the classes that contain it,
    one known negative with the highest y among itself and the classes inside it (Li et al. 2022,
    "Deep hierarchical semantic segmentation", arXiv 2203.14335, tree-min loss):

        loss = mean over voxels of 1/C sum_{c known} -[x log min y + (1 - x) log(1 - max y)]
               + noisy_or * the term `noisy_or`.

    Whatever contains a positive class is positive and whatever lies inside a negative one is
    negative, so the first part never touches an unknown entry. Classes need not form a tree.
    """

    heads = frozenset({MULTILABEL})

    def __init__(
        self, codebook: Codebook, *, noisy_or: Annotated[float, Field(ge=0)] = 1.0
    ) -> None:
        super().__init__(codebook)
        self.noisy_or = noisy_or
        leaves = [entry.leaves for entry in codebook.space.classes]
        positions = range(len(leaves))
        self.ancestors = [[a for a in positions if leaves[c] <= leaves[a]] for c in positions]
        self.descendants = [[d for d in positions if leaves[d] <= leaves[c]] for c in positions]

    def compute(self, prediction: Prediction, codes: Tensor) -> Tensor:
        """Return the mean over all entries `[B, C, *S]` plus the noisy-or part."""
        logits = prediction.logits
        membership = look_up(self.membership, codes)
        # The sigmoid is monotonic: the extremes are taken on logits.
        lowest = torch.stack([logits[:, a].amin(dim=1) for a in self.ancestors], dim=1)
        highest = torch.stack([logits[:, d].amax(dim=1) for d in self.descendants], dim=1)
        entry = torch.where(membership == 1, F.logsigmoid(lowest), F.logsigmoid(-highest))
        loss = torch.where(membership >= 0, -entry, 0.0).mean()
        some = log_any(logits[:, : self.num_leaves], look_up(self.members, codes))
        merged = look_up(self.informed, codes) & ~look_up(self.certain, codes)
        return loss + self.noisy_or * torch.where(merged, -some, 0.0).mean() / logits.shape[1]
