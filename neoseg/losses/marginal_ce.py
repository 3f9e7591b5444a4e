"""Marginal CE: likelihood of the label set."""

from torch import Tensor

from neoseg.losses.fused import Sums, SumTerm
from neoseg.losses.term import SOFTMAX


class MarginalCE(SumTerm):
    """Negative log of the probability mass inside the voxel's label set.

    loss = mean over voxels with S not everything of -log sum_{c in S} p_c, p = softmax over the
    leaves (Fidon et al. 2021, arXiv 2107.03846; their value is larger by the constant log |S| of
    each voxel, omitted here so that a solved voxel has loss 0). Complete labels give cross-entropy.
    The loss does not distinguish the leaves inside S; where nothing is known, it and its gradient
    are 0.
    """

    heads = frozenset({SOFTMAX})

    wanted = frozenset({"cross_entropy"})

    def from_sums(self, sums: Sums) -> Tensor:
        """Return the mean over voxels about which something is known; 0 if there are none."""
        voxels = (sums.count * self.informed).sum()
        return (sums.of("cross_entropy") * self.informed).sum() / voxels.clamp(min=1)
