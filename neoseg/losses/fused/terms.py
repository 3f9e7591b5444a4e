"""The two kinds of loss term that never allocate volumes of probabilities."""

from abc import abstractmethod

from torch import Tensor

from neoseg.losses.fused.parallel import world_size
from neoseg.losses.fused.sums import Sums, accumulate
from neoseg.losses.fused.voxels import VoxelPart, voxel_sums
from neoseg.losses.term import LossTerm, Prediction


class SumTerm(LossTerm):
    """A loss that is a function of the sums of a batch.

    An objective computes the sums that its terms request once, for all of them.
    """

    wanted: frozenset[str]
    """Names of the requested sums (see `Sums`); may depend on the settings."""

    @abstractmethod
    def from_sums(self, sums: Sums) -> Tensor:
        """Return the scalar loss, in the type of the sums."""

    def evaluate(self, prediction: Prediction, codes: Tensor) -> Tensor:
        """Return the scalar loss of this term alone."""
        return self.from_sums(accumulate(prediction, codes, self, self.wanted))


class VoxelTerm(LossTerm):
    """A loss that sums one function over all voxels and divides by a count."""

    @abstractmethod
    def total(self, logits: Tensor, codes: Tensor) -> Tensor:
        """Return the sum over voxels; logits `[1, N, n]` in full precision, codes `[1, n]`."""

    def divisor(self, count: Tensor) -> Tensor:
        """Return the divisor of the sum, given the number of voxels of each code `[B, R]`.

        By default this is the number of entries of a multi-label head.
        """
        return count.sum() * self.class_leaves.shape[0]

    def part(self, count: Tensor, weight: float = 1.0) -> VoxelPart:
        """Return the term as a part for `voxel_sums`, given the voxels per code of all ranks."""
        # Gradients are averaged over ranks, and the divisor counts the voxels of all of them.
        return VoxelPart(self.total, world_size() / self.divisor(count).clamp(min=1), weight)

    def evaluate(self, prediction: Prediction, codes: Tensor) -> Tensor:
        """Return the scalar loss of this term alone."""
        count = accumulate(prediction, codes, self, ()).count
        total, _ = voxel_sums(prediction.logits, codes, [self.part(count)])
        return total


def soft_dice(both: Tensor, size: Tensor, above: float, below: float) -> Tensor:
    """Return (2 both + above) / (size + below).

    `both` is the intersection of two soft sets, `size` the sum of their sizes.
    """
    return (2 * both + above) / (size + below)
