"""Marginal CE: likelihood of the label set."""

from __future__ import annotations

import torch
from torch import Tensor

from neoseg.losses.term import SOFTMAX, LossTerm, Prediction, look_up, masked_mean


class MarginalCE(LossTerm):
    """Negative log of the probability mass that falls inside the voxel's label set.

    loss = mean over voxels with S not everything of -log sum_{c in S} p_c, p = softmax over the
    leaves (Fidon et al. 2021, arXiv 2107.03846). Complete labels give cross-entropy. Inside S the
    loss does not say which leaf; where nothing is known it is 0, as is its gradient.
    """

    heads = frozenset({SOFTMAX})

    def compute(self, prediction: Prediction, codes: Tensor) -> Tensor:
        """Return the mean over voxels about which something is known; 0 where there is none."""
        log_mass = log_set_mass(prediction.logits, look_up(self.members, codes))
        return masked_mean(-log_mass, look_up(self.informed, codes))


def log_set_mass(logits: Tensor, members: Tensor) -> Tensor:
    """Log of the softmax mass on `members` (bool `[B, K, *S]`, one true at least): `[B, *S]`."""
    inside = logits.masked_fill(~members, -torch.inf).logsumexp(dim=1)
    return inside - logits.logsumexp(dim=1)
