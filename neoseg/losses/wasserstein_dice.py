"""Generalised Wasserstein Dice: errors are weighted by distance in the hierarchy."""

from typing import Annotated, Literal

import numpy as np
from pydantic import Field
from torch import Tensor

from neoseg.labels import Codebook, LabelSpace
from neoseg.losses.fused import Sums, SumTerm, soft_dice
from neoseg.losses.term import SOFTMAX, Smooth, WholeBatch, masked_mean


class WassersteinDice(SumTerm):
    """Dice loss whose error is the distance between the predicted leaves and the label set.

    W_i = sum_k p_ik min_{l in S_i} d(k, l), and with a_i = 0 where the voxel may be background,
    else 1,

        loss = 1 - (2 sum a (1 - W) + s) / (2 sum a (1 - W) + sum W + s)

    (Fidon et al. 2017, arXiv 1707.00478, with a label set in place of a leaf). Sums run over an
    item, or over the batch with `batch`; voxels about which nothing is known are left out. On
    complete labels this is MONAI's GeneralizedWassersteinDiceLoss.
    """

    heads = frozenset({SOFTMAX})

    wanted = frozenset({"probability"})

    distance: Tensor
    foreground: Tensor

    def __init__(
        self,
        codebook: Codebook,
        *,
        distance: Annotated[
            Literal["hierarchy", "uniform"],
            Field(
                description="hierarchy: the share of classes not in common; "
                "uniform: every mistake costs the same"
            ),
        ] = "hierarchy",
        batch: WholeBatch = False,
        smooth: Smooth = 1e-5,
    ) -> None:
        super().__init__(codebook)
        self.batch = batch
        self.smooth = smooth
        space = codebook.space
        leaf_distances = (
            leaf_distance(space) if distance == "hierarchy" else 1.0 - np.eye(self.num_leaves)
        )
        set_distances = np.where(codebook.rows[:, None, :], leaf_distances[None], np.inf).min(
            axis=2
        )
        self.add_table("distance", set_distances.T.astype(np.float32))  # [K, R]
        self.add_table("foreground", ~codebook.rows[:, space.background])  # [R]

    def from_sums(self, sums: Sums) -> Tensor:
        """Return the mean over items with a known voxel (or the loss of the batch); 0 if none."""
        sums = sums.pooled() if self.batch else sums
        p = sums.of("probability")
        cost = (self.distance.to(p) * p).sum(1) * self.informed  # [B, R]
        hits = ((sums.count * self.informed - cost) * self.foreground).sum(-1)
        loss = 1 - soft_dice(hits, 2 * hits + cost.sum(-1), self.smooth, self.smooth)
        return masked_mean(loss, (sums.count * self.informed).sum(1) > 0)


def leaf_distance(space: LabelSpace) -> np.ndarray:
    """Return float `[K, K]` in [0, 1]: the share of classes that two leaves do not have in common.

    This is 1 - |A & B| / |A | B|, with A and B the classes that contain the first and the second
    leaf, including the leaf itself, scaled so that the largest distance is 1. Zero on the diagonal,
    symmetric, and a metric (Jaccard distance).
    """
    membership = space.class_leaves.astype(float)
    common = membership.T @ membership
    size = np.diag(common)
    distance: np.ndarray = 1.0 - common / (size[:, None] + size[None, :] - common)
    distance /= distance.max()
    return distance
