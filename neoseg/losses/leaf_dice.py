"""Leaf-Dice: Dice over leaves in which only voxels with a known leaf can be true positives."""

from typing import Annotated

from pydantic import Field
from torch import Tensor

from neoseg.labels import Codebook
from neoseg.losses.fused import Sums, SumTerm, soft_dice
from neoseg.losses.term import SOFTMAX, Power, SmoothBelow, WholeBatch, masked_mean


class LeafDice(SumTerm):
    """Mean-class Dice loss in which a leaf's truth is the set of voxels known to be that leaf.

    loss = 1 - 1/K sum_c 2 sum_i 1[S_i = {c}] p_ic / (sum_i 1[S_i = {c}] + sum_i p_ic^alpha + e)
    (Fidon et al. 2021, arXiv 2107.03846), i over the voxels of an item, or of the batch with
    `batch`. As published, p_ic counts in the denominator even where S_i leaves c open (the term
    is meant to be summed with marginal CE); `count_open: false` leaves those entries out, so that
    their gradient through this sum is 0. Generalised: voxels about which nothing is known are left
    out, and items without other voxels contribute 0.
    """

    heads = frozenset({SOFTMAX})

    def __init__(
        self,
        codebook: Codebook,
        *,
        alpha: Power = 2,
        count_open: Annotated[
            bool,
            Field(description="false: no probability counts where the label set leaves it open"),
        ] = True,
        batch: WholeBatch = False,
        smooth: SmoothBelow = 1e-5,
    ) -> None:
        super().__init__(codebook)
        self.alpha = alpha
        self.count_open = count_open
        self.batch = batch
        self.smooth = smooth
        self.wanted = frozenset({"probability"} if alpha == 1 else {"probability", "squared"})

    def from_sums(self, sums: Sums) -> Tensor:
        """Return the mean over items with a known voxel (or the loss of the batch); 0 if none."""
        sums = sums.pooled() if self.batch else sums
        truth = self.members & self.certain
        counted = self.informed.expand_as(self.members)
        if not self.count_open:
            counted = counted & (truth | ~self.members)
        hits = (sums.of("probability") * truth).sum(-1)
        predicted_size = (sums.of("probability" if self.alpha == 1 else "squared") * counted).sum(
            -1
        )
        truth_size = sums.count @ truth.to(sums.count).T
        loss = 1 - soft_dice(hits, predicted_size + truth_size, 0.0, self.smooth).mean(-1)
        return masked_mean(loss, (sums.count * self.informed).sum(1) > 0)
