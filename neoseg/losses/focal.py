"""Focal loss over known classes."""

from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from neoseg.labels import Codebook
from neoseg.losses.fused import VoxelTerm
from neoseg.losses.term import MULTILABEL, Fraction, Gamma, look_up


class Focal(VoxelTerm):
    """Binary focal loss over known classes; unknown ones count as 0.

    loss = mean over all entries of -a_x (1 - q)^gamma log q at known ones, q = y where x = 1 and
    1 - y where x = 0, a_1 = alpha, a_0 = 1 - alpha, or both 1 without alpha (Lin et al. 2017,
    arXiv 1708.02002; computed by MONAI). Known entries and the mean are defined as in IUC; gamma =
    0 without alpha is IUC. The softmax counterpart is `marginal_focal`.
    """

    heads = frozenset({MULTILABEL})

    def __init__(
        self,
        codebook: Codebook,
        *,
        gamma: Gamma = 2.0,
        alpha: Annotated[
            Fraction | None,
            Field(description="weight of positive entries, negatives get 1 - alpha; null: none"),
        ] = None,
    ) -> None:
        super().__init__(codebook)
        self.gamma = gamma
        self.alpha = alpha

    def total(self, logits: Tensor, codes: Tensor) -> Tensor:
        """Return the sum over all entries; unknown ones count as 0."""
        from monai.losses.focal_loss import sigmoid_focal_loss  # takes seconds to import

        membership = look_up(self.membership, codes)
        target = membership.clamp(min=0).to(logits)
        # MONAI turns a number into a tensor, whose copy to a GPU would block the host.
        alpha = None if self.alpha is None else logits.new_full((), self.alpha)
        entry_loss = sigmoid_focal_loss(logits, target, gamma=self.gamma, alpha=alpha)
        return torch.where(membership >= 0, entry_loss, 0.0).sum()
