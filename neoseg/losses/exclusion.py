"""Exclusion: a structure that is not annotated does not lie where another is annotated."""

from __future__ import annotations

from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from neoseg.labels import Codebook
from neoseg.losses.term import MULTILABEL, SOFTMAX, LossTerm, Prediction, look_up, masked_mean


class Exclusion(LossTerm):
    """Overlap of unannotated leaves with voxels that are annotated as something else.

    For a leaf c that an item's annotation leaves open somewhere, let e_i = 1 where voxel i is
    known not to be c. Then

        loss = dice * 2 sum e p_c / (sum e + sum p_c + s) + ce * mean over e of log(1 + p_c),

    mean over such pairs of item and leaf, and over their voxels for the second part (Shi et al.
    2021, arXiv 2007.03868). Generalised: unannotated is what some voxel's label set leaves open,
    with a label set that is not everything; voxels about which nothing is known are left out. A
    completely annotated item gives 0. p is the leaf's sigmoid or softmax.
    """

    heads = frozenset({MULTILABEL, SOFTMAX})

    def __init__(
        self,
        codebook: Codebook,
        *,
        dice: Annotated[float, Field(ge=0)] = 1.0,
        ce: Annotated[float, Field(ge=0)] = 1.0,
        smooth: Annotated[float, Field(gt=0)] = 1e-5,
    ) -> None:
        super().__init__(codebook)
        self.weights = (dice, ce)
        self.smooth = smooth

    def compute(self, prediction: Prediction, codes: Tensor) -> Tensor:
        """Return the weighted sum; 0 where no annotation leaves a leaf open."""
        if prediction.head == MULTILABEL:
            p = prediction.logits[:, : self.num_leaves].sigmoid()
        else:
            p = prediction.logits.softmax(dim=1)
        members = look_up(self.members, codes)
        informed = look_up(self.informed, codes).unsqueeze(1)
        merged = informed & ~look_up(self.certain, codes).unsqueeze(1)
        pairs = (members & merged).flatten(2).any(dim=2)
        elsewhere = informed & ~members
        p = p * informed
        overlap = (p * elsewhere).flatten(2).sum(dim=2)
        size = elsewhere.flatten(2).sum(dim=2) + p.flatten(2).sum(dim=2)
        dice = masked_mean(2 * overlap / (size + self.smooth), pairs)
        at = elsewhere & pairs.view(*pairs.shape, *[1] * (p.dim() - 2))
        entropy = masked_mean(torch.log1p(p), at)
        return self.weights[0] * dice + self.weights[1] * entropy
