"""Tversky loss over known classes."""

from __future__ import annotations

from typing import Annotated

import torch
from monai.losses import TverskyLoss
from pydantic import Field
from torch import Tensor

from neoseg.labels import Codebook
from neoseg.losses.term import MULTILABEL, SOFTMAX, LossTerm, Prediction, look_up, masked_mean


class Tversky(LossTerm):
    """Tversky loss of each class over the voxels at which the class is known.

    loss = 1 - (TP + s) / (TP + alpha FP + beta FN + s) (Salehi et al. 2017, arXiv 1706.05721; by
    MONAI), mean over the item-class pairs (with `batch`: the classes) that have a known voxel.
    alpha = beta = 0.5 is soft Dice. Classes are all C: sigmoids, or under a softmax head the sum
    over the class's leaves. Where the label set leaves a class open, the voxel counts for that
    class neither as prediction nor as truth, so at a sigmoid the gradient there is exactly 0.
    """

    heads = frozenset({MULTILABEL, SOFTMAX})

    def __init__(
        self,
        codebook: Codebook,
        *,
        alpha: Annotated[float, Field(ge=0)] = 0.3,
        beta: Annotated[float, Field(ge=0)] = 0.7,
        batch: bool = False,
        smooth: Annotated[float, Field(gt=0)] = 1e-5,
    ) -> None:
        super().__init__(codebook)
        self.batch = batch
        self.tversky = TverskyLoss(
            alpha=alpha,
            beta=beta,
            batch=batch,
            smooth_nr=smooth,
            smooth_dr=smooth,
            reduction="none",
        )

    def compute(self, prediction: Prediction, codes: Tensor) -> Tensor:
        """Return the mean over pairs (classes) with a known voxel; 0 where there is none."""
        if prediction.head == MULTILABEL:
            probability = prediction.logits.sigmoid()
        else:
            leaf = prediction.logits.softmax(dim=1)
            supers = self.class_leaves[self.num_leaves :].to(leaf)
            probability = torch.cat([leaf, torch.einsum("ck,bk...->bc...", supers, leaf)], dim=1)
        membership = look_up(self.membership, codes)
        known = membership >= 0
        loss = self.tversky(probability * known, (membership == 1).to(probability))
        has_known = known.flatten(2).any(dim=2)
        if self.batch:
            return masked_mean(loss.flatten(), has_known.any(dim=0))
        return masked_mean(loss.flatten(1), has_known)
