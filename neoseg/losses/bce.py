"""BCE: binary cross-entropy of full supervision."""

from torch import Tensor

from neoseg.losses.fused import Sums, SumTerm
from neoseg.losses.term import MULTILABEL


class BCE(SumTerm):
    """Binary cross-entropy over all classes, at voxels whose leaf is known.

    loss = mean over such voxels of 1/C sum_c -[x_c log y_c + (1 - x_c) log(1 - y_c)]. Partially
    known voxels are left out of the sum and the mean, so the loss never treats a missing label as
    background. This is the supervised arm of Kucheruk et al. 2025.
    """

    heads = frozenset({MULTILABEL})
    accepts_partial = False

    wanted = frozenset({"cross_entropy"})

    def from_sums(self, sums: Sums) -> Tensor:
        """Return the mean over the entries of completely known voxels; 0 if there are none."""
        entries = (sums.count * self.certain).sum() * self.class_leaves.shape[0]
        return (sums.of("cross_entropy") * self.certain).sum() / entries.clamp(min=1)
