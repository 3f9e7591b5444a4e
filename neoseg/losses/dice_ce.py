"""Dice + CE: the usual full-supervision loss of a softmax head."""

from __future__ import annotations

from typing import Annotated

import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from neoseg.labels import Codebook
from neoseg.losses.dice import Dice
from neoseg.losses.term import SOFTMAX, LossTerm, Prediction, look_up, masked_mean


class DiceCE(LossTerm):
    """Weighted sum of soft Dice and cross-entropy at voxels whose leaf is known.

    loss = dice * Dice + ce * mean over such voxels of -log p_leaf (as in nnU-Net, Isensee et al.
    2021). A voxel known only in part is left out of both. For a multi-label head combine the
    terms `bce` and `dice`.
    """

    heads = frozenset({SOFTMAX})
    accepts_partial = False

    def __init__(
        self,
        codebook: Codebook,
        *,
        dice: Annotated[float, Field(ge=0)] = 1.0,
        ce: Annotated[float, Field(ge=0)] = 1.0,
        include_background: bool = True,
        squared: bool = False,
        batch: bool = False,
        smooth: Annotated[float, Field(gt=0)] = 1e-5,
    ) -> None:
        super().__init__(codebook)
        self.weights = (dice, ce)
        self.dice = Dice(
            codebook,
            include_background=include_background,
            squared=squared,
            batch=batch,
            smooth=smooth,
        )

    def compute(self, prediction: Prediction, codes: Tensor) -> Tensor:
        """Return the weighted sum; 0 where no voxel is completely known."""
        dice, ce = self.weights
        # In every codebook the rows 1..K are the single leaves in order.
        leaf = (codes.long() - 1).clamp(0, self.num_leaves - 1)
        voxel = F.cross_entropy(prediction.logits, leaf, reduction="none")
        entropy = masked_mean(voxel, look_up(self.certain, codes))
        return dice * self.dice.compute(prediction, codes) + ce * entropy
