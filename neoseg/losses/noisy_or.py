"""Noisy-or: if a parent is positive, at least one of its children must be."""

import torch
import torch.nn.functional as F
from torch import Tensor

from neoseg.losses.fused import VoxelTerm
from neoseg.losses.term import MULTILABEL, LossTerm, look_up


class NoisyOr(VoxelTerm):
    """Negative log-probability that at least one leaf of the voxel's label set is present.

    loss = 1/C mean over all voxels of -log(1 - prod_{k in S} (1 - y_k)) where S holds several
    leaves but not all, 0 elsewhere. It trains children that IUC ignores: with TCV = {cGM, WM, dGM}
    hidden, S are the children of the positive parent. In general S need not be a class. The factor
    1/C makes the term one more entry of IUC's mean, so that weight 1 suits a sum with IUC. On
    complete labels it is 0, because the children are known there.
    """

    heads = frozenset({MULTILABEL})

    def total(self, logits: Tensor, codes: Tensor) -> Tensor:
        """Return the sum over voxels."""
        return noisy_or_sum(self, logits, codes)


def noisy_or_sum(term: LossTerm, logits: Tensor, codes: Tensor) -> Tensor:
    """Return the loss summed over the voxels whose label set has several leaves but not all."""
    log_present = log_any(logits[:, : term.num_leaves], look_up(term.members, codes))
    merged = look_up(term.informed, codes) & ~look_up(term.certain, codes)
    return torch.where(merged, -log_present, 0.0).sum()


def log_any(logits: Tensor, members: Tensor) -> Tensor:
    """Return the log of 1 - prod over members of (1 - sigmoid(logit)): `[B, K, *S]` -> `[B, *S]`.

    Finite for all finite logits, with a gradient that does not vanish: where every probability is
    tiny, the noisy-or is approximated by the sum of the probabilities.
    """
    log_none = torch.where(members, F.logsigmoid(-logits), 0.0).sum(dim=1)
    tiny = log_none > -1e-6
    log_sum = F.logsigmoid(logits).masked_fill(~members, -torch.inf).logsumexp(dim=1)
    exact = torch.log(-torch.expm1(log_none.clamp(max=-1e-6)))
    return torch.where(tiny, log_sum, exact)
