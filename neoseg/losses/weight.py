"""WEIGHT: unknown classes weighted by the model's own probability."""

from typing import Annotated

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from neoseg.labels import Codebook
from neoseg.losses.fused import VoxelTerm
from neoseg.losses.term import MULTILABEL, LossTerm, look_up

StopGradient = Annotated[
    bool,
    Field(description="true: the target is a constant; false is what the paper's code does"),
]


class Weight(VoxelTerm):
    """IUC plus, for unknown classes, cross-entropy with the model's own y as target.

    An unknown entry adds -[y log y + (1 - y) log(1 - y)] (Kucheruk et al. 2025). With the
    gradient flowing through the target, as in the paper's code, that is entropy minimisation;
    with `stop_gradient` the gradient there is exactly 0 and only the value changes. In general
    an unknown class, including super-classes, counts if the voxel's label set is not everything.
    With TCV = {cGM, WM, dGM} hidden, this is the paper's loss; a voxel about which nothing is
    known contributes 0.
    """

    heads = frozenset({MULTILABEL})

    def __init__(self, codebook: Codebook, *, stop_gradient: StopGradient = False) -> None:
        super().__init__(codebook)
        self.stop_gradient = stop_gradient

    def total(self, logits: Tensor, codes: Tensor) -> Tensor:
        """Return the sum over all entries."""
        probability = logits.sigmoid()
        return completed_sum(
            self, logits, codes, probability.detach() if self.stop_gradient else probability
        )


def completed_sum(term: LossTerm, logits: Tensor, codes: Tensor, own: Tensor) -> Tensor:
    """Return the summed cross-entropy, with the targets `own` for unknown classes.

    Voxels about which nothing is known contribute 0.
    """
    membership = look_up(term.membership, codes)
    return F.binary_cross_entropy_with_logits(
        logits,
        torch.where(membership >= 0, membership.to(own), own),
        weight=look_up(term.informed, codes).unsqueeze(1).to(logits),
        reduction="sum",
    )
