"""Class-masked BCE and batch Dice: each scan trains only the classes that it annotates."""

from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor

from neoseg.labels import Codebook
from neoseg.losses.fused import Sums, SumTerm, soft_dice
from neoseg.losses.term import MULTILABEL, PartWeight, Smooth, masked_mean


class ClassMasked(SumTerm):
    """Binary cross-entropy and soft Dice over the annotated classes.

    loss = bce * BCE + dice * Dice (MultiTalent, Ulrich et al. 2023, arXiv 2303.14444). BCE sums,
    over items and classes, the mean over an item's voxels (open entries count as 0). Dice is
    computed per class over the batch, and 1 - Dice is summed over the classes with a known entry.
    Every class thus has the same weight, however many others there are. With `published: false`
    BCE is the mean over known entries and Dice the mean over classes, which do not grow with the
    number of classes. With `level` "item", as published, a class left open by the label set of any
    voxel is masked in the whole item (a class that a patch nowhere leaves open counts as
    annotated); with "voxel" it is masked in those voxels only. Voxels about which nothing is known
    are masked in both cases.
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
        """Return the weighted sum; 0 if no class is known."""
        known_entries = (self.membership >= 0).expand(len(sums.count), -1, -1)  # [B, C, R]
        if self.level == "item":
            left_open = (self.membership < 0) & self.informed
            open_in_item = (sums.count.unsqueeze(1) * left_open).sum(-1, keepdim=True) > 0
            known_entries = known_entries & ~open_in_item
        voxels = sums.count.unsqueeze(1) * known_entries
        entropy = (sums.of("cross_entropy") * known_entries).sum((1, 2))
        positive = self.membership == 1
        probability = sums.of("probability") * known_entries
        intersection = (probability * positive).sum((0, 2))
        size = probability.sum((0, 2)) + (voxels * positive).sum((0, 2))
        dice_loss = 1 - soft_dice(intersection, size, self.smooth, self.smooth)
        has_known = voxels.sum((0, 2)) > 0
        bce, dice = self.weights
        if self.published:
            entropy = (entropy / sums.count.sum(1)).sum()
            return bce * entropy + dice * torch.where(has_known, dice_loss, 0.0).sum()
        entropy = entropy.sum() / voxels.sum().clamp(min=1)
        return bce * entropy + dice * masked_mean(dice_loss, has_known)
