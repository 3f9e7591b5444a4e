"""BCE: binary cross-entropy of full supervision."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from neoseg.losses.term import MULTILABEL, LossTerm, Prediction, look_up, masked_mean


class BCE(LossTerm):
    """Binary cross-entropy over all classes, at voxels whose leaf is known.

    loss = mean over such voxels of 1/C sum_c -[x_c log y_c + (1 - x_c) log(1 - y_c)]. A voxel
    known only in part is left out of sum and mean, so the loss never reads a missing label as
    background. This is the supervised arm of Kucheruk et al. 2025.
    """

    heads = frozenset({MULTILABEL})
    accepts_partial = False

    def compute(self, prediction: Prediction, codes: Tensor) -> Tensor:
        """Return the mean over completely known voxels; 0 where there is none."""
        logits = prediction.logits
        target = look_up(self.membership, codes).clamp(min=0).to(logits)
        voxel = F.binary_cross_entropy_with_logits(logits, target, reduction="none").mean(dim=1)
        return masked_mean(voxel, look_up(self.certain, codes))
