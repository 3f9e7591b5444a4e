"""Exclusion: an unannotated structure must not overlap an annotated one."""

from torch import Tensor

from neoseg.labels import Codebook
from neoseg.losses.fused import Sums, SumTerm, soft_dice
from neoseg.losses.term import MULTILABEL, SOFTMAX, PartWeight, SmoothBelow, masked_mean


class Exclusion(SumTerm):
    """Overlap of unannotated leaves with voxels that are annotated as something else.

    For a leaf c that an item's annotation leaves open somewhere, let e_i = 1 where voxel i is
    known not to be c. Then

        loss = dice * 2 sum e p_c / (sum e + sum p_c + s) + ce * mean over e of log(1 + p_c),

    where the first part is averaged over all such pairs of item and leaf, the second over the
    voxels of all pairs (Shi et al. 2021, arXiv 2007.03868). Generalised: a leaf is unannotated in
    an item if the label set of some voxel leaves it open without allowing every leaf; voxels about
    which nothing is known are left out. A completely annotated item gives 0. p is the leaf's
    sigmoid or softmax.
    """

    heads = frozenset({MULTILABEL, SOFTMAX})
    wanted = frozenset({"probability", "log1p"})

    def __init__(
        self,
        codebook: Codebook,
        *,
        dice: PartWeight = 1.0,
        ce: PartWeight = 1.0,
        smooth: SmoothBelow = 1e-5,
    ) -> None:
        super().__init__(codebook)
        self.weights = (dice, ce)
        self.smooth = smooth

    def from_sums(self, sums: Sums) -> Tensor:
        """Return the weighted sum; 0 if no annotation leaves a leaf open."""
        p, log1p = (sums.of(name)[:, : self.num_leaves] for name in ("probability", "log1p"))
        merged = self.members & self.informed & ~self.certain
        excluded = ~self.members & self.informed
        pairs = sums.count @ merged.to(p).T > 0  # [B, K]
        voxels = sums.count @ excluded.to(p).T
        overlap = (p * excluded).sum(-1)
        size = voxels + (p * self.informed).sum(-1)
        dice = masked_mean(soft_dice(overlap, size, 0.0, self.smooth), pairs)
        entropy = ((log1p * excluded).sum(-1) * pairs).sum() / (voxels * pairs).sum().clamp(min=1)
        return self.weights[0] * dice + self.weights[1] * entropy
