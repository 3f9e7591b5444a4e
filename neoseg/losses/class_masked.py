"""Class-masked BCE and batch Dice: each scan teaches the classes that it annotates."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field
from torch import Tensor

from neoseg.labels import Codebook
from neoseg.losses.fused import Sums, SumTerm, soft_dice
from neoseg.losses.term import MULTILABEL, PartWeight, Smooth, masked_mean


class ClassMasked(SumTerm):
    """Binary cross-entropy and soft Dice over the classes that an annotation knows.

    loss = bce * BCE + dice * Dice (MultiTalent, Ulrich et al. 2023, arXiv 2303.14444). BCE is the
    mean over known entries; Dice sums over the batch per class, mean over classes with a known
    entry. At `level` "item", as published, a class that the label set of some voxel leaves open
    is masked in the whole item (what a patch does not show open counts as annotated); at "voxel"
    it is masked in those voxels. Voxels about which nothing is known are masked under both.
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
        bce: PartWeight = 1.0,
        dice: PartWeight = 1.0,
        smooth: Smooth = 1e-5,
    ) -> None:
        super().__init__(codebook)
        self.level = level
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
        entropy = (sums.of("cross_entropy") * known).sum() / voxels.sum().clamp(min=1)
        positive = self.membership == 1
        prob = sums.of("probability") * known
        both = (prob * positive).sum((0, 2))
        size = prob.sum((0, 2)) + (voxels * positive).sum((0, 2))
        overlap = 1 - soft_dice(both, size, self.smooth, self.smooth)
        bce, dice = self.weights
        return bce * entropy + dice * masked_mean(overlap, voxels.sum((0, 2)) > 0)
