"""IUC: ignore unobserved children."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from neoseg.losses.term import MULTILABEL, LossTerm, Prediction, look_up


class IUC(LossTerm):
    """Binary cross-entropy over the classes that are known, 0 for the others.

    With x_c in {0, 1, unknown} and y_c = sigmoid(logit_c),

        loss = mean over voxels of 1/N sum_{c known} -[x_c log y_c + (1 - x_c) log(1 - y_c)],

    where N counts all classes, unknown ones included, as in the paper (Kucheruk et al. 2025). x
    is 1 where the voxel's label set lies inside the class, 0 where they are disjoint, unknown
    otherwise, for any hierarchy and any label set. With TCV = {cGM, WM, dGM} and its children
    hidden, that is the paper's loss; on complete labels it is binary cross-entropy. The gradient
    at unknown entries is exactly 0.
    """

    heads = frozenset({MULTILABEL})

    def compute(self, prediction: Prediction, codes: Tensor) -> Tensor:
        """Return the mean over all entries `[B, C, *S]`, unknown ones counting as 0."""
        return known_cross_entropy(prediction.logits, look_up(self.membership, codes))


def known_cross_entropy(logits: Tensor, membership: Tensor) -> Tensor:
    """Cross-entropy summed over entries with membership 0 or 1, divided by all entries."""
    return F.binary_cross_entropy_with_logits(
        logits, membership.clamp(min=0).to(logits), weight=(membership >= 0).to(logits)
    )
