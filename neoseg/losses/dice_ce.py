"""Dice + CE: the usual full-supervision loss of a softmax head."""

from torch import Tensor

from neoseg.labels import Codebook
from neoseg.losses.dice import Background, Dice, Squared
from neoseg.losses.fused import Sums, SumTerm
from neoseg.losses.term import SOFTMAX, PartWeight, Smooth, WholeBatch


class DiceCE(SumTerm):
    """Weighted sum of soft Dice and cross-entropy at voxels whose leaf is known.

    loss = dice * Dice + ce * mean over such voxels of -log p_leaf (as in nnU-Net, Isensee et al.
    2021). Partially known voxels are left out of both. For a multi-label head combine the terms
    `bce` and `dice`.
    """

    heads = frozenset({SOFTMAX})
    accepts_partial = False

    def __init__(
        self,
        codebook: Codebook,
        *,
        dice: PartWeight = 1.0,
        ce: PartWeight = 1.0,
        include_background: Background = True,
        squared: Squared = False,
        batch: WholeBatch = False,
        smooth: Smooth = 1e-5,
    ) -> None:
        super().__init__(codebook)
        self.weights = (dice, ce)
        self.dice = Dice(
            codebook,
            include_background=include_background,
            squared=squared,
            batch=batch,
            smooth=smooth,
        )
        self.wanted = self.dice.wanted | {"cross_entropy"}

    def from_sums(self, sums: Sums) -> Tensor:
        """Return the weighted sum; 0 if no voxel is completely known."""
        dice, ce = self.weights
        voxels = (sums.count * self.certain).sum()
        entropy = (sums.of("cross_entropy") * self.certain).sum() / voxels.clamp(min=1)
        return dice * self.dice.from_sums(sums) + ce * entropy
