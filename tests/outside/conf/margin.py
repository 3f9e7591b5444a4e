"""A loss and a callback in a file beside a user's configurations."""

from mylab.callbacks import Note as InstalledNote
from torch import Tensor

from neoseg.losses.term import MULTILABEL, DenseTerm, Prediction, look_up, masked_mean


class Margin(DenseTerm):
    """Hinge loss over the known classes."""

    heads = frozenset({MULTILABEL})

    def compute(self, prediction: Prediction, codes: Tensor) -> Tensor:
        """Return the mean over voxels and classes of which something is known."""
        truth = look_up(self.membership, codes)
        sign = 2.0 * truth.clamp(min=0) - 1.0
        return masked_mean((1.0 - sign * prediction.logits).clamp(min=0), truth >= 0)


class Note(InstalledNote):
    """The same, of a class that nobody has declared."""
