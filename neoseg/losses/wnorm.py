"""WNORM: unknown classes weighted by probabilities normalised over siblings."""

import torch
import torch.nn.functional as F
from torch import Tensor

from neoseg.labels import Codebook
from neoseg.losses.fused import VoxelTerm
from neoseg.losses.term import MULTILABEL, look_up
from neoseg.losses.weight import StopGradient, completed_sum


class WNorm(VoxelTerm):
    """WEIGHT with the target y'_u = y_u / sum of y over the siblings of u.

    The siblings of an unknown leaf are the leaves of the voxel's label set S (Kucheruk et al.
    2025: the children of TCV). In general an unknown super-class u gets the share of its leaves,
    y'_u = sum of y' over the leaves in both u and S, and counts if S is not everything. With TCV =
    {cGM, WM, dGM} hidden, this is the paper's loss; a voxel about which nothing is known
    contributes 0. y' is computed from log-probabilities, so no quotient underflows.
    """

    heads = frozenset({MULTILABEL})

    def __init__(self, codebook: Codebook, *, stop_gradient: StopGradient = False) -> None:
        super().__init__(codebook)
        self.stop_gradient = stop_gradient

    def total(self, logits: Tensor, codes: Tensor) -> Tensor:
        """Return the sum over all entries."""
        leaves = self.num_leaves
        log_y = F.logsigmoid(logits[:, :leaves])
        share = log_y.masked_fill(~look_up(self.members, codes), -torch.inf).softmax(dim=1)
        supers = self.class_leaves[leaves:].to(share)
        target = torch.cat([share, torch.einsum("ck,bk...->bc...", supers, share)], dim=1)
        return completed_sum(self, logits, codes, target.detach() if self.stop_gradient else target)
