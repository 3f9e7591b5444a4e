"""Class-masked BCE and batch Dice: each scan teaches the classes that it annotates."""

from __future__ import annotations

from typing import Annotated, Literal

import torch.nn.functional as F
from monai.losses import DiceLoss
from pydantic import Field
from torch import Tensor

from neoseg.labels import Codebook
from neoseg.losses.term import MULTILABEL, LossTerm, Prediction, look_up, masked_mean


class ClassMasked(LossTerm):
    """Binary cross-entropy and soft Dice over the classes that an annotation knows.

    loss = bce * BCE + dice * Dice (MultiTalent, Ulrich et al. 2023, arXiv 2303.14444). BCE is the
    mean over known entries; Dice sums over the batch per class, mean over classes with a known
    entry. At `level` "item", as published, a class that the label set of some voxel leaves open
    is masked in the whole item (what a patch does not show open counts as annotated); at "voxel"
    it is masked in those voxels. Voxels about which nothing is known are masked under both.
    """

    heads = frozenset({MULTILABEL})

    def __init__(
        self,
        codebook: Codebook,
        *,
        level: Literal["item", "voxel"] = "item",
        bce: Annotated[float, Field(ge=0)] = 1.0,
        dice: Annotated[float, Field(ge=0)] = 1.0,
        smooth: Annotated[float, Field(gt=0)] = 1e-5,
    ) -> None:
        super().__init__(codebook)
        self.level = level
        self.weights = (bce, dice)
        self.dice = DiceLoss(batch=True, smooth_nr=smooth, smooth_dr=smooth, reduction="none")

    def compute(self, prediction: Prediction, codes: Tensor) -> Tensor:
        """Return the weighted sum; 0 where no class is known."""
        logits = prediction.logits
        membership = look_up(self.membership, codes)
        known = membership >= 0
        if self.level == "item":
            open_entry = ~known & look_up(self.informed, codes).unsqueeze(1)
            seen = open_entry.flatten(2).any(dim=2)
            known = known & ~seen.view(*seen.shape, *[1] * (known.dim() - 2))
        target = ((membership == 1) & known).to(logits)
        entry = F.binary_cross_entropy_with_logits(logits, target, reduction="none")
        overlap = self.dice(logits.sigmoid() * known, target).flatten()
        has_known = known.transpose(0, 1).flatten(1).any(dim=1)
        bce, dice = self.weights
        return bce * masked_mean(entry, known) + dice * masked_mean(overlap, has_known)
