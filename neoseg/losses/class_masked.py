"""Class-masked BCE and batch Dice: each scan teaches the classes that it annotates."""

from __future__ import annotations

from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor

from neoseg.labels import Codebook
from neoseg.losses.fused import Sums, SumTerm, soft_dice
from neoseg.losses.term import MULTILABEL, PartWeight, Smooth, masked_mean


class ClassMasked(SumTerm):
    """Binary cross-entropy and soft Dice over the classes that an annotation knows.

    loss = bce * BCE + dice * Dice (MultiTalent, Ulrich et al. 2023, arXiv 2303.14444). BCE sums,
    over items and classes, the mean over an item's voxels (open entries count as 0); Dice sums
    over the batch per class, and 1 - Dice over the classes with a known entry. So every class
    pulls alike however many others there are. With `published: false` BCE is the mean over known
    entries, Dice the mean over classes, which does not grow with their number. At `level` "item",
    as published, a class that the label set of some voxel leaves open is masked in the whole item
    (what a patch does not show open counts as annotated); at "voxel" it is masked in those
    voxels. Voxels about which nothing is known are masked under both.
    """

    heads = frozenset({MULTILABEL})
    wanted = frozenset({"cross_entropy", "probability"})

    def __init__(
        self,
        codebook: Codebook,
        *,
        level: Annotated[
            Literal["item", "voxel"],
            Field(
                description="item: a class left open somewhere is masked in the whole item; "
                "voxel: only there"
            ),
        ] = "item",
        published: Annotated[
            bool, Field(description="true: sums over classes (and items, of BCE); false: means")
        ] = True,
        bce: PartWeight = 1.0,
        dice: PartWeight = 1.0,
        smooth: Smooth = 1e-5,
    ) -> None:
        super().__init__(codebook)
        self.level = level
        self.published = published
        self.weights = (bce, dice)
        self.smooth = smooth

    def from_sums(self, sums: Sums) -> Tensor:
        """Return the weighted sum; 0 where no class is known."""
        known = (self.membership >= 0).expand(len(sums.count), -1, -1)  # [B, C, R]
        if self.level == "item":
            left_open = (self.membership < 0) & self.informed
            seen = (sums.count.unsqueeze(1) * left_open).sum(-1, keepdim=True) > 0
            known = known & ~seen
        voxels = sums.count.unsqueeze(1) * known
        entropy = (sums.of("cross_entropy") * known).sum((1, 2))
        positive = self.membership == 1
        prob = sums.of("probability") * known
        both = (prob * positive).sum((0, 2))
        size = prob.sum((0, 2)) + (voxels * positive).sum((0, 2))
        overlap = 1 - soft_dice(both, size, self.smooth, self.smooth)
        there = voxels.sum((0, 2)) > 0
        bce, dice = self.weights
        if self.published:
            entropy = (entropy / sums.count.sum(1)).sum()
            return bce * entropy + dice * torch.where(there, overlap, 0.0).sum()
        entropy = entropy.sum() / voxels.sum().clamp(min=1)
        return bce * entropy + dice * masked_mean(overlap, there)
