"""Dice: soft Dice loss of full supervision."""

from __future__ import annotations

from typing import Annotated

import torch
from monai.losses import DiceLoss
from pydantic import Field
from torch import Tensor

from neoseg.labels import Codebook
from neoseg.losses.term import MULTILABEL, SOFTMAX, LossTerm, Prediction, look_up, masked_mean


class Dice(LossTerm):
    """Soft Dice loss at voxels whose leaf is known, mean over classes.

    loss = 1 - (2 sum p x + s) / (sum p + sum x + s) per class, with p^2 in place of p if
    `squared` (Milletari et al. 2016, V-Net), by MONAI's DiceLoss. Multi-label heads: all C
    classes with sigmoids; softmax heads: the K leaves. Voxels known only in part count neither
    as prediction nor as truth. With `batch` the sums run over the whole batch; otherwise over an
    item, and the mean is over the items that have a completely known voxel.
    """

    heads = frozenset({MULTILABEL, SOFTMAX})
    accepts_partial = False

    def __init__(
        self,
        codebook: Codebook,
        *,
        include_background: bool = True,
        squared: bool = False,
        batch: bool = False,
        smooth: Annotated[float, Field(gt=0)] = 1e-5,
    ) -> None:
        super().__init__(codebook)
        self.dropped = None if include_background else codebook.space.background
        self.batch = batch
        # MONAI's own include_background presumes that the background is channel 0.
        self.dice = DiceLoss(
            squared_pred=squared,
            batch=batch,
            smooth_nr=smooth,
            smooth_dr=smooth,
            reduction="none",
        )

    def compute(self, prediction: Prediction, codes: Tensor) -> Tensor:
        """Return the mean over classes (and items); 0 where no voxel is completely known."""
        known = look_up(self.certain, codes)
        if prediction.head == MULTILABEL:
            probability = prediction.logits.sigmoid()
            target = look_up(self.membership, codes) == 1
        else:
            probability = prediction.logits.softmax(dim=1)
            target = look_up(self.members, codes)
        mask = known.unsqueeze(1)
        loss = self.dice(probability * mask, (target & mask).to(probability))
        if self.batch:
            # [C]; with nothing known every class is 1 - s/s = 0.
            return _without(loss.flatten(), self.dropped).mean()
        per_item = _without(loss.flatten(1), self.dropped).mean(dim=1)
        return masked_mean(per_item, known.flatten(1).any(dim=1))


def _without(classes: Tensor, dropped: int | None) -> Tensor:
    """Leave one class out of the last axis."""
    if dropped is None:
        return classes
    return torch.cat([classes[..., :dropped], classes[..., dropped + 1 :]], dim=-1)
