"""Noisy-or: where a parent is positive, one of its children must be."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from neoseg.losses.fused import VoxelTerm
from neoseg.losses.term import MULTILABEL, LossTerm, look_up


class NoisyOr(VoxelTerm):
    """Negative log-probability that at least one leaf of the voxel's label set is present.

    loss = 1/C mean over all voxels of -log(1 - prod_{k in S} (1 - y_k)) where S holds several
    leaves but not all, 0 elsewhere. It says to the children what IUC does not: with TCV = {cGM,
    WM, dGM} hidden, S are the children of the positive parent. In general S need not be a
    class. The factor 1/C makes it one more entry of IUC's mean, so that weight 1 fits beside IUC;
    on complete labels it is 0, because there the children are known.
    """

    heads = frozenset({MULTILABEL})

    def total(self, logits: Tensor, codes: Tensor) -> Tensor:
        """Return the sum over all voxels."""
        return noisy_or_sum(self, logits, codes)


def noisy_or_sum(term: LossTerm, logits: Tensor, codes: Tensor) -> Tensor:
    """Sum over the voxels whose label set holds several leaves but not all."""
    some = log_any(logits[:, : term.num_leaves], look_up(term.members, codes))
    merged = look_up(term.informed, codes) & ~look_up(term.certain, codes)
    return torch.where(merged, -some, 0.0).sum()


def log_any(logits: Tensor, members: Tensor) -> Tensor:
    """Log of 1 - prod over members of (1 - sigmoid(logit)): `[B, K, *S]` -> `[B, *S]`.

    Finite for all finite logits, with a gradient that does not vanish: where every probability
    is tiny, the sum of the probabilities stands for the noisy-or.
    """
    log_none = torch.where(members, F.logsigmoid(-logits), 0.0).sum(dim=1)
    tiny = log_none > -1e-6
    log_sum = F.logsigmoid(logits).masked_fill(~members, -torch.inf).logsumexp(dim=1)
    exact = torch.log(-torch.expm1(log_none.clamp(max=-1e-6)))
    return torch.where(tiny, log_sum, exact)
