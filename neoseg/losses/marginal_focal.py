"""Marginal focal loss: focal loss on the mass of the label set."""

import torch
from torch import Tensor

from neoseg.labels import Codebook
from neoseg.losses.fused import VoxelTerm
from neoseg.losses.term import SOFTMAX, Gamma, look_up


class MarginalFocal(VoxelTerm):
    """Focal loss of the probability mass P inside the voxel's label set.

    loss = mean over voxels with S not everything of -(1 - P)^gamma log P, P = sum_{c in S} p_c
    (focal loss of Lin et al. 2017 on the marginal of Fidon et al. 2021, arXiv 2107.03846).
    gamma = 0 is marginal CE; complete labels give the multi-class focal loss. The published code
    uses P/|S|, with which the loss of a voxel with a merged label set never reaches 0; with P it
    does.
    """

    heads = frozenset({SOFTMAX})

    def __init__(
        self,
        codebook: Codebook,
        *,
        gamma: Gamma = 2.0,
    ) -> None:
        super().__init__(codebook)
        self.gamma = gamma

    def total(self, logits: Tensor, codes: Tensor) -> Tensor:
        """Return the sum over voxels about which something is known."""
        log_inside = logits.masked_fill(~look_up(self.members, codes), -torch.inf).logsumexp(dim=1)
        log_mass = log_inside - logits.logsumexp(dim=1)
        # The floor keeps the gradient finite in solved voxels if gamma is below 1.
        outside_mass = (-torch.expm1(log_mass)).clamp(min=torch.finfo(log_mass.dtype).eps)
        return torch.where(
            look_up(self.informed, codes), -(outside_mass**self.gamma) * log_mass, 0.0
        ).sum()

    def divisor(self, count: Tensor) -> Tensor:
        """Return the number of voxels about which something is known."""
        return (count * self.informed).sum()
