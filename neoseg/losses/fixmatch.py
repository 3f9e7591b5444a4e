"""FixMatch: confident decisions on a weak view teach a strong view."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field
from torch import Tensor

from neoseg.labels import Codebook
from neoseg.losses.cross_pseudo import allowed_evidence, pseudo_label_loss
from neoseg.losses.mean_teacher import Streams, Where, chosen_entries
from neoseg.losses.term import MULTILABEL, SOFTMAX, DenseTerm, Fraction, Prediction


class FixMatch(DenseTerm):
    """Cross-entropy with the teacher's hard decisions where it is confident.

    In each voxel the target is the most probable leaf of the label set, kept where its probability
    reaches `threshold` (Sohn et al. 2020, arXiv 2001.07685). The probability is the teacher's
    given that the label set is right: divided by the mass of the label set, so that 1 / |S| is no
    knowledge; with sigmoids it is the softmax over S of the evidence that `CrossPseudo` describes.
    Chosen entries that are not kept count as 0, as in the paper. With `augment=weak_strong` the
    teacher sees the weak view and the student the strong one of what is not fully labelled, while
    full labels come weakly changed, as without this term; in the paper partial labels do not
    exist. `teacher.decay: 0` makes the teacher the network itself after the last step, as in the
    paper. No gradient reaches it.

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
        """Return the mean over the chosen entries or voxels; 0 where there is none."""
        assert prediction.teacher is not None  # `check` has seen to it
        chosen = chosen_entries(self, prediction, codes, self.where, self.streams)
        evidence = allowed_evidence(self, prediction.teacher, prediction.head, codes)
        best, leaf = evidence.max(1)
        confident = (best - evidence.logsumexp(1)).exp() >= self.threshold
        return pseudo_label_loss(self, prediction, leaf, chosen, confident)
