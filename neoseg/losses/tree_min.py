"""Tree-min: cross-entropy on probabilities made consistent with the hierarchy."""

from typing import Annotated

import numpy as np
import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from neoseg.labels import Codebook
from neoseg.losses.fused import VoxelTerm
from neoseg.losses.noisy_or import noisy_or_sum
from neoseg.losses.term import MULTILABEL, PartWeight, look_up


class TreeMin(VoxelTerm):
    """Cross-entropy with the lowest y among super-classes or the highest among sub-classes.

    A class known to be positive is scored by the lowest y among itself and the classes that contain
    it, a class known to be negative by the highest y among itself and the classes inside it (Li et
    al. 2022, "Deep hierarchical semantic segmentation", arXiv 2203.14335, tree-min loss):

        loss = sum over levels of the mean, over the level's classes and the voxels with something
               known, of -[x log min y + (1 - x) log(1 - max y)], open classes counting as 0.

    Leaves are one level, classes of leaves only the next, and so on, weighted as in the authors'
    code; their factor of 5 relative to a softmax loss corresponds to the weight of the entry. With
    `published: false` it is the mean over all classes and voxels. `noisy_or` adds that term, with
    the same divisor; the authors, whose labels leave nothing open, do not have it.

    Super-classes of a positive class are positive and sub-classes of a negative one are negative,
    so without `noisy_or` open entries get no gradient. Classes need not form a tree.
    """

    heads = frozenset({MULTILABEL})

    share: Tensor

    def __init__(
        self,
        codebook: Codebook,
        *,
        published: Annotated[
            bool, Field(description="true: each level counts alike; false: each class")
        ] = True,
        noisy_or: PartWeight = 0.0,
    ) -> None:
        super().__init__(codebook)
        self.published = published
        self.noisy_or = noisy_or
        sets = [entry.leaves for entry in codebook.space.classes]
        self.smallest_first = sorted(range(len(sets)), key=lambda c: len(sets[c]))
        self.inside = [_direct_subclasses(sets, c) for c in range(len(sets))]
        self.around = [
            [a for a in range(len(sets)) if c in self.inside[a]] for c in range(len(sets))
        ]
        level = np.zeros(len(sets), int)
        for c in self.smallest_first:
            level[c] = 1 + max((level[d] for d in self.inside[c]), default=-1)
        share = len(sets) / np.bincount(level)[level] if published else np.ones(len(sets))
        self.add_table("share", share)  # [C]

    def total(self, logits: Tensor, codes: Tensor) -> Tensor:
        """Return the sum over all entries plus the noisy-or part."""
        membership = look_up(self.membership, codes)
        positive = membership == 1
        chosen = logits.gather(1, self._scoring_class(logits.detach(), positive))
        log_likelihood = F.logsigmoid(torch.where(positive, chosen, -chosen))
        entry_loss = torch.where(membership >= 0, -log_likelihood, 0.0)
        loss = torch.einsum("bc...,c->", entry_loss, self.share.to(logits))
        return loss + self.noisy_or * noisy_or_sum(self, logits, codes)

    def divisor(self, count: Tensor) -> Tensor:
        """Return the number of entries; if `published`, only of voxels with something known."""
        return super().divisor(count * self.informed if self.published else count)

    def _scoring_class(self, logits: Tensor, positive: Tensor) -> Tensor:
        """Return int64 `[B, C, *S]`: the class by whose logit each class is scored.

        Logits suffice, as they have the order of their sigmoids. One gather with this index costs 8
        bytes per entry; minima and maxima over lists of channels would each keep copies of those
        channels for the backward pass.
        """
        highest = _propagate_best(logits, self.smallest_first, self.inside)
        lowest = _propagate_best(-logits, self.smallest_first[::-1], self.around)
        return torch.where(positive, lowest, highest).long()


def _propagate_best(score: Tensor, order: list[int], neighbours: list[list[int]]) -> Tensor:
    """Return int16 `[B, C, *S]`: the class with the highest score reachable through neighbours.

    `order` must visit the neighbours of a class before the class.
    """
    score = score.clone()
    shape = [1, -1] + [1] * (score.dim() - 2)
    start = torch.arange(len(order), dtype=torch.int16, device=score.device)
    index = start.view(shape).expand_as(score).clone()
    for c in order:
        for neighbour in neighbours[c]:
            better = score[:, neighbour] > score[:, c]
            index[:, c] = torch.where(better, index[:, neighbour], index[:, c])
            score[:, c] = torch.maximum(score[:, neighbour], score[:, c])
    return index


def _direct_subclasses(sets: list[frozenset[int]], c: int) -> list[int]:
    """Return the direct sub-classes of class c: inside it, but in none of its other sub-classes."""
    inside = [d for d in range(len(sets)) if sets[d] < sets[c]]
    return [d for d in inside if not any(sets[d] < sets[e] for e in inside)]
