"""Dice: soft Dice loss of full supervision."""

from typing import Annotated

from pydantic import Field
from torch import Tensor

from neoseg.labels import Codebook
from neoseg.losses.fused import Sums, SumTerm, soft_dice
from neoseg.losses.term import MULTILABEL, SOFTMAX, Smooth, WholeBatch, masked_mean

Background = Annotated[
    bool, Field(description="false: the mean of Dice leaves the background leaf out")
]
Squared = Annotated[
    bool, Field(description="true: squared probabilities in the denominator of Dice (V-Net)")
]


class Dice(SumTerm):
    """Soft Dice loss at voxels whose leaf is known, averaged over classes.

    loss = 1 - (2 sum p x + s) / (sum p + sum x + s) per class, with p^2 in place of p if
    `squared` (Milletari et al. 2016, V-Net), as MONAI's DiceLoss. Multi-label heads: all C
    classes with sigmoids; softmax heads: the K leaves. Partially known voxels count neither as
    prediction nor as truth. With `batch` the sums run over the whole batch; otherwise over each
    item, and the mean is over the items that have a completely known voxel.
    """

    heads = frozenset({MULTILABEL, SOFTMAX})
    accepts_partial = False

    def __init__(
        self,
        codebook: Codebook,
        *,
        include_background: Background = True,
        squared: Squared = False,
        batch: WholeBatch = False,
        smooth: Smooth = 1e-5,
    ) -> None:
        super().__init__(codebook)
        classes = list(range(codebook.space.num_classes))
        if not include_background:
            classes.remove(codebook.space.background)
        self.classes = classes
        self.squared = squared
        self.batch = batch
        self.smooth = smooth
        self.wanted = frozenset({"probability", "squared"} if squared else {"probability"})

    def from_sums(self, sums: Sums) -> Tensor:
        """Return the mean over classes (and items); 0 if no voxel is completely known."""
        sums = sums.pooled() if self.batch else sums
        if sums.head == MULTILABEL:
            positive, classes = self.membership == 1, self.classes
        else:
            positive = self.members
            classes = [c for c in self.classes if c < self.num_leaves]
        truth = positive & self.certain
        intersection = (sums.of("probability") * truth).sum(-1)
        predicted_size = (sums.of("squared" if self.squared else "probability") * self.certain).sum(
            -1
        )
        truth_size = sums.count @ truth.to(sums.count).T
        loss = 1 - soft_dice(intersection, predicted_size + truth_size, self.smooth, self.smooth)[
            :, classes
        ].mean(1)
        return masked_mean(loss, (sums.count * self.certain).sum(1) > 0)
