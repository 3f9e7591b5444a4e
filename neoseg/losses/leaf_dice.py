"""Leaf-Dice: Dice over leaves where only certain voxels are true positives."""

from __future__ import annotations

from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from neoseg.labels import Codebook
from neoseg.losses.term import SOFTMAX, LossTerm, Prediction, look_up, masked_mean


class LeafDice(LossTerm):
    """Mean-class Dice loss in which a leaf's truth is the set of voxels known to be that leaf.

    loss = 1 - 1/K sum_c 2 sum_i 1[S_i = {c}] p_ic / (sum_i 1[S_i = {c}] + sum_i p_ic^alpha + e)
    (Fidon et al. 2021, arXiv 2107.03846), i over the voxels of an item, or of the batch with
    `batch`. As published, p_ic counts in the denominator also where S_i leaves c open (the term
    is meant to be summed with marginal CE); `count_open: false` leaves those entries out, and
    then their gradient through this sum is 0. Generalised: voxels about which nothing is known
    are left out, and items that consist of them contribute 0.
    """

    heads = frozenset({SOFTMAX})

    def __init__(
        self,
        codebook: Codebook,
        *,
        alpha: Annotated[float, Field(ge=1)] = 2.0,
        count_open: bool = True,
        batch: bool = False,
        smooth: Annotated[float, Field(gt=0)] = 1e-5,
    ) -> None:
        super().__init__(codebook)
        self.alpha = alpha
        self.count_open = count_open
        self.batch = batch
        self.smooth = smooth

    def compute(self, prediction: Prediction, codes: Tensor) -> Tensor:
        """Return the mean over items with a known voxel (or the batch's loss); 0 without one."""
        p = prediction.logits.softmax(dim=1)
        members = look_up(self.members, codes)
        truth = members & look_up(self.certain, codes).unsqueeze(1)
        informed = look_up(self.informed, codes)
        counted = informed.unsqueeze(1)
        if not self.count_open:
            counted = counted & (truth | ~members)
        over = [0, *range(2, p.dim())] if self.batch else list(range(2, p.dim()))
        hits = torch.where(truth, p, 0.0).sum(over)
        size = truth.sum(over) + torch.where(counted, p**self.alpha, 0.0).sum(over)
        loss = 1 - (2 * hits / (size + self.smooth)).mean(dim=-1)
        has_known = informed.flatten(1).any(dim=1)
        return masked_mean(loss, has_known.any() if self.batch else has_known)
