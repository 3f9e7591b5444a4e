"""Marginal Dice: Dice after spreading prediction and truth evenly over the label set."""

from __future__ import annotations

from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from neoseg.labels import Codebook
from neoseg.losses.term import SOFTMAX, LossTerm, Prediction, look_up, masked_mean


class MarginalDice(LossTerm):
    """Mean-class Dice loss between marginalised prediction and label set.

    loss = 1 - 1/K sum_c 2 sum_i f_ic g_ic / (sum_i f_ic^alpha + sum_i g_ic^alpha + e), where g_ic
    is 1/|S_i| inside the label set S_i and 0 outside, and f_ic is the mean of p over S_i inside
    it and p_ic outside (Fidon et al. 2021, arXiv 2107.03846; alpha = 2). Sums run over an item,
    or over the batch with `batch`. It says nothing about how mass is shared inside a label set.
    Generalised: voxels about which nothing is known are left out, and items that consist of them
    contribute 0.
    """

    heads = frozenset({SOFTMAX})

    def __init__(
        self,
        codebook: Codebook,
        *,
        alpha: Annotated[float, Field(ge=1)] = 2.0,
        batch: bool = False,
        smooth: Annotated[float, Field(gt=0)] = 1e-5,
    ) -> None:
        super().__init__(codebook)
        self.alpha = alpha
        self.batch = batch
        self.smooth = smooth

    def compute(self, prediction: Prediction, codes: Tensor) -> Tensor:
        """Return the mean over items with a known voxel (or the batch's loss); 0 without one."""
        p = prediction.logits.softmax(dim=1)
        members = look_up(self.members, codes)
        informed = look_up(self.informed, codes)
        count = members.sum(dim=1, keepdim=True).to(p)
        inside = torch.where(members, p, 0.0).sum(dim=1, keepdim=True) / count
        spread = torch.where(members, inside, p) * informed.unsqueeze(1)
        truth = (members & informed.unsqueeze(1)) / count
        over = [0, *range(2, p.dim())] if self.batch else list(range(2, p.dim()))
        both = (spread * truth).sum(over)
        size = (spread**self.alpha).sum(over) + (truth**self.alpha).sum(over)
        loss = 1 - (2 * both / (size + self.smooth)).mean(dim=-1)
        has_known = informed.flatten(1).any(dim=1)
        return masked_mean(loss, has_known.any() if self.batch else has_known)
