"""A loss term."""

from torch import Tensor

from neoseg.labels import Codebook
from neoseg.losses.term import MULTILABEL, DenseTerm, Prediction, look_up, masked_mean


class Brier(DenseTerm):
    """Distance of probability and truth, to a power, over the known classes."""

    heads = frozenset({MULTILABEL})

    def __init__(self, codebook: Codebook, *, power: float = 2.0) -> None:
        super().__init__(codebook)
        self.power = power

    def compute(self, prediction: Prediction, codes: Tensor) -> Tensor:
        """Return the mean over voxels and classes of which something is known."""
        truth = look_up(self.membership, codes)
        distance = (prediction.logits.sigmoid() - truth.clamp(min=0)).abs()
        return masked_mean(distance.pow(self.power), truth >= 0)
