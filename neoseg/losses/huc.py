"""HUC: hard pseudo-labels for unobserved children."""

import torch
import torch.nn.functional as F
from torch import Tensor

from neoseg.labels import UNKNOWN
from neoseg.losses.fused import VoxelTerm
from neoseg.losses.term import MULTILABEL, look_up


class HUC(VoxelTerm):
    """IUC plus cross-entropy against a hard pseudo-label for unknown children.

    Among the leaves of the voxel's label set the one with the highest y gets the target 1, its
    siblings 0 (Kucheruk et al. 2025). In general, the siblings are the leaves of the label set,
    which need not be a class; an unknown super-class gets 1 if it contains the chosen leaf, else
    0, so that the completed target is the membership of a single leaf in all classes. With TCV =
    {cGM, WM, dGM} hidden, no super-class is unknown and this is the paper's loss. A voxel about
    which nothing is known has no positive parent and contributes 0. No gradient flows through the
    choice of the leaf.
    """

    heads = frozenset({MULTILABEL})

    def total(self, logits: Tensor, codes: Tensor) -> Tensor:
        """Return the summed IUC of codes completed by the most probable leaf of each label set."""
        allowed = look_up(self.members, codes)
        scores = logits.detach()[:, : self.num_leaves]
        leaf = scores.masked_fill(~allowed, -torch.inf).argmax(dim=1)
        # Rows 1..K of every codebook are the single leaves in order.
        completed = torch.where(look_up(self.informed, codes), leaf + 1, UNKNOWN).to(torch.uint8)
        membership = look_up(self.membership, completed)
        return F.binary_cross_entropy_with_logits(
            logits,
            membership.clamp(min=0).to(logits),
            weight=(membership >= 0).to(logits),
            reduction="sum",
        )
