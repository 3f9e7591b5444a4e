"""Tversky loss over known classes."""

from typing import Annotated

from pydantic import Field
from torch import Tensor

from neoseg.labels import Codebook
from neoseg.losses.fused import Sums, SumTerm
from neoseg.losses.term import MULTILABEL, SOFTMAX, Smooth, WholeBatch, masked_mean


class Tversky(SumTerm):
    """Tversky loss of each class over the voxels at which the class is known.

    loss = 1 - (TP + s) / (TP + alpha FP + beta FN + s) (Salehi et al. 2017, arXiv 1706.05721; as
    in MONAI), mean over the item-class pairs (with `batch`: the classes) that have a known voxel.
    alpha = beta = 0.5 is soft Dice. All C classes count: sigmoids, or for a softmax head the sum
    over the class's leaves. Where the label set leaves a class open, the voxel counts for that
    class neither as prediction nor as truth, so the gradient of a sigmoid there is exactly 0.
    """

    heads = frozenset({MULTILABEL, SOFTMAX})
    wanted = frozenset({"probability"})

    def __init__(
        self,
        codebook: Codebook,
        *,
        alpha: Annotated[float, Field(ge=0, description="weight of false positives")] = 0.3,
        beta: Annotated[float, Field(ge=0, description="weight of false negatives")] = 0.7,
        batch: WholeBatch = False,
        smooth: Smooth = 1e-5,
    ) -> None:
        super().__init__(codebook)
        self.batch = batch
        self.weights = (alpha, beta)
        self.smooth = smooth

    def from_sums(self, sums: Sums) -> Tensor:
        """Return the mean over pairs (classes) with a known voxel; 0 if there are none."""
        sums = sums.pooled() if self.batch else sums
        probability = sums.of("probability")
        if sums.head == SOFTMAX:
            probability = self.class_leaves.to(probability) @ probability
        positive, negative = self.membership == 1, self.membership == 0
        true_positive = (probability * positive).sum(-1)
        false_positive = (probability * negative).sum(-1)
        false_negative = sums.count @ positive.to(probability).T - true_positive
        alpha, beta = self.weights
        score = (true_positive + self.smooth) / (
            true_positive + alpha * false_positive + beta * false_negative + self.smooth
        )
        has_known = sums.count @ (positive | negative).to(probability).T > 0
        return masked_mean(1 - score, has_known)
