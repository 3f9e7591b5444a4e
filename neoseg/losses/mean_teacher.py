"""Mean teacher: consistency between a student and its moving average."""

from typing import ClassVar

from torch import Tensor

from neoseg.labels import Codebook
from neoseg.losses.consistency import Streams, Where, chosen_entries, chosen_mean, disagreement
from neoseg.losses.term import MULTILABEL, SOFTMAX, DenseTerm, Prediction


class MeanTeacher(DenseTerm):
    """Mean squared difference of student and teacher probabilities.

    loss = mean over the chosen entries of (y_student - y_teacher)^2 (Tarvainen & Valpola 2017),
    over C sigmoids or K softmax probabilities; no gradient reaches the teacher. `where` chooses
    entries: all, or only the classes (leaves) that the voxel's label set leaves open. `streams`
    chooses items: all, those of one stream (full, partial or unlabelled), or of a list of streams.
    """

    heads = frozenset({MULTILABEL, SOFTMAX})
    needs_teacher = True
    ramp: ClassVar = {"share": 1.0, "shape": "sigmoid", "start": 0.0}

    def __init__(
        self, codebook: Codebook, *, where: Where = "all", streams: Streams = "all"
    ) -> None:
        super().__init__(codebook)
        self.where = where
        self.streams = streams

    def compute(self, prediction: Prediction, codes: Tensor) -> Tensor:
        """Return the mean over the chosen entries; 0 if there are none."""
        chosen = chosen_entries(self, prediction, codes, self.where, self.streams)
        return chosen_mean(disagreement(prediction), chosen)
