"""FixMatch: confident decisions on a weakly augmented view teach a strongly augmented one."""

from typing import Annotated

from pydantic import Field
from torch import Tensor

from neoseg.labels import Codebook
from neoseg.losses.consistency import (
    Streams,
    Where,
    allowed_evidence,
    chosen_entries,
    pseudo_label_loss,
)
from neoseg.losses.term import MULTILABEL, SOFTMAX, DenseTerm, Fraction, Prediction


class FixMatch(DenseTerm):
    """Cross-entropy with the teacher's hard decisions where it is confident.

    In each voxel the target is the most probable leaf of the label set, used if its probability
    reaches `threshold` (Sohn et al. 2020, arXiv 2001.07685). This is the teacher's probability
    given that the label set is correct: divided by the mass of the label set S, so that 1 / |S|
    means no knowledge; for sigmoids, the softmax over S of the evidence described in `CrossPseudo`.
    Chosen entries below the threshold count as 0, as in the paper. With `augment=weak_strong` the
    teacher sees the weak view and the student the strong view of items that are not fully labelled;
    fully labelled items are augmented weakly, as without this term (the paper has no partial
    labels). With `teacher.decay: 0`, as in the paper, the teacher is the network itself after the
    last step. No gradient reaches the teacher.

    `where` and `streams` choose entries and items as in `CrossPseudo`.
    """

    heads = frozenset({MULTILABEL, SOFTMAX})
    needs_teacher = True

    def __init__(
        self,
        codebook: Codebook,
        *,
        threshold: Annotated[
            Fraction, Field(description="least probability of a decision, given the label set")
        ] = 0.95,
        where: Where = "unknown",
        streams: Streams = "all",
    ) -> None:
        super().__init__(codebook)
        self.threshold = threshold
        self.where = where
        self.streams = streams

    def compute(self, prediction: Prediction, codes: Tensor) -> Tensor:
        """Return the mean over the chosen entries or voxels; 0 if there are none."""
        assert prediction.teacher is not None  # guaranteed by `check`
        chosen = chosen_entries(self, prediction, codes, self.where, self.streams)
        evidence = allowed_evidence(self, prediction.teacher, prediction.head, codes)
        best, leaf = evidence.max(1)
        confident = (best - evidence.logsumexp(1)).exp() >= self.threshold
        return pseudo_label_loss(self, prediction, leaf, chosen, confident)
