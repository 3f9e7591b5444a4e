"""IUC: ignore unobserved children."""

from torch import Tensor

from neoseg.losses.fused import Sums, SumTerm
from neoseg.losses.term import MULTILABEL


class IUC(SumTerm):
    """Binary cross-entropy over known classes; unknown ones count as 0.

    With x_c in {0, 1, unknown} and y_c = sigmoid(logit_c),

        loss = mean over voxels of 1/N sum_{c known} -[x_c log y_c + (1 - x_c) log(1 - y_c)],

    where N counts all classes, unknown ones included, as in the paper (Kucheruk et al. 2025). x
    is 1 if the voxel's label set is a subset of the class, 0 if they are disjoint, and unknown
    otherwise, for any hierarchy and any label set. With TCV = {cGM, WM, dGM} and its children
    hidden, this is the paper's loss; on complete labels it is binary cross-entropy. The gradient
    at unknown entries is exactly 0.
    """

    heads = frozenset({MULTILABEL})

    wanted = frozenset({"cross_entropy"})

    def from_sums(self, sums: Sums) -> Tensor:
        """Return the mean over all entries `[B, C, *S]`; unknown ones count as 0."""
        entries = sums.count.sum() * self.class_leaves.shape[0]
        return sums.of("cross_entropy").sum() / entries
