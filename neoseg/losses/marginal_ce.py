"""Marginal CE: likelihood of the label set."""

from __future__ import annotations

from torch import Tensor

from neoseg.losses.fused import Sums, SumTerm
from neoseg.losses.term import SOFTMAX


class MarginalCE(SumTerm):
    """Negative log of the probability mass that falls inside the voxel's label set.

    loss = mean over voxels with S not everything of -log sum_{c in S} p_c, p = softmax over the
    leaves (Fidon et al. 2021, arXiv 2107.03846; their value is larger by the constant log |S| of
    each voxel, left out here so that a solved voxel has 0). Complete labels give cross-entropy.
    Inside S the loss does not say which leaf; where nothing is known it is 0, as is its gradient.
    """

    heads = frozenset({SOFTMAX})

    wanted = frozenset({"cross_entropy"})

    def from_sums(self, sums: Sums) -> Tensor:
        """Return the mean over voxels about which something is known; 0 where there is none."""
        voxels = (sums.count * self.informed).sum()
        return (sums.of("cross_entropy") * self.informed).sum() / voxels.clamp(min=1)
