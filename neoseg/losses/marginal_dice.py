"""Marginal Dice: Dice after spreading prediction and truth evenly over the label set."""

from torch import Tensor

from neoseg.labels import Codebook
from neoseg.losses.fused import Sums, SumTerm, soft_dice
from neoseg.losses.term import SOFTMAX, Power, SmoothBelow, WholeBatch, masked_mean


class MarginalDice(SumTerm):
    """Mean-class Dice loss between marginalised prediction and label set.

    loss = 1 - 1/K sum_c 2 sum_i f_ic g_ic / (sum_i f_ic^alpha + sum_i g_ic^alpha + e), where g_ic
    is 1/|S_i| inside the label set S_i and 0 outside, and f_ic is the mean of p over S_i inside
    it and p_ic outside (Fidon et al. 2021, arXiv 2107.03846; alpha = 2). Sums run over an item,
    or over the batch with `batch`. The loss does not depend on how mass is distributed inside a
    label set. Generalised: voxels about which nothing is known are left out, and items without
    other voxels contribute 0.
    """

    heads = frozenset({SOFTMAX})

    def __init__(
        self,
        codebook: Codebook,
        *,
        alpha: Power = 2,
        batch: WholeBatch = False,
        smooth: SmoothBelow = 1e-5,
    ) -> None:
        super().__init__(codebook)
        self.alpha = alpha
        self.batch = batch
        self.smooth = smooth
        self.wanted = frozenset(
            {"probability"} if alpha == 1 else {"probability", "squared", "squared_mass"}
        )

    def from_sums(self, sums: Sums) -> Tensor:
        """Return the mean over items with a known voxel (or the loss of the batch); 0 if none."""
        sums = sums.pooled() if self.batch else sums
        p, alpha = sums.of("probability"), self.alpha
        inside = (self.members & self.informed).to(p)  # [K, R]
        outside = (~self.members & self.informed).to(p)
        leaves = self.members.sum(0)
        mass = (p * inside).sum(1)  # [B, R]
        intersection = (mass / leaves**2) @ inside.T
        mass_power = mass if alpha == 1 else sums.of("squared_mass")
        inside_size = (mass_power + sums.count) / leaves**alpha @ inside.T
        outside_size = ((p if alpha == 1 else sums.of("squared")) * outside).sum(-1)
        loss = 1 - soft_dice(intersection, inside_size + outside_size, 0.0, self.smooth).mean(-1)
        return masked_mean(loss, (sums.count * self.informed).sum(1) > 0)
