"""Uncertainty-aware mean teacher: consistency where the teacher is certain."""

import math
from collections.abc import Callable
from typing import Annotated, ClassVar

import torch
from pydantic import Field
from torch import Tensor

from neoseg.labels import Codebook
from neoseg.losses.consistency import Streams, Where, chosen_entries, chosen_mean, disagreement
from neoseg.losses.term import MULTILABEL, SOFTMAX, DenseTerm, Fraction, Prediction, look_up


class UncertaintyTeacher(DenseTerm):
    """Mean teacher restricted to the entries about which the teacher is certain.

    loss = mean over the chosen entries with U < H of (y_student - y_teacher)^2 (Yu et al. 2019,
    arXiv 1907.07034). U is the entropy of the teacher's mean probabilities over `teacher.passes`
    passes with noise on the image and the network's dropout, which a run requires; with
    `teacher.passes: 0` it is the entropy of the teacher's own probabilities. H = (threshold +
    (1 - threshold) exp(-5 (1 - t)^2)) max U with t = progress / threshold_share up to 1.

    The maximum of U depends on the head. Softmax over K leaves: U of a voxel, at most ln K.
    Sigmoids: U = -y ln y - (1 - y) ln(1 - y) of each class, at most ln 2. For a softmax with
    `where: unknown`, the probabilities are first divided by their sum over the label set S, and the
    maximum is ln |S|: a teacher that knows no more than the annotation is not certain, however
    small S is. `where` and `streams` choose as in `MeanTeacher`.
    """

    heads = frozenset({MULTILABEL, SOFTMAX})
    needs_teacher = True
    needs_passes = True
    ramp: ClassVar = {"share": 1.0, "shape": "sigmoid", "start": 0.0}

    def __init__(
        self,
        codebook: Codebook,
        *,
        where: Where = "all",
        streams: Streams = "all",
        threshold: Annotated[
            Fraction, Field(description="at first, the share of the largest entropy that is sure")
        ] = 0.75,
        threshold_share: Annotated[
            float,
            Field(gt=0, le=1, description="of the training, after which all but the largest do"),
        ] = 1.0,
    ) -> None:
        super().__init__(codebook)
        self.where = where
        self.streams = streams
        self.threshold = threshold
        self.threshold_share = threshold_share

    def limit(self, progress: float) -> float:
        """Return H / max U after a fraction `progress` (0 to 1) of the training."""
        t = min(progress / self.threshold_share, 1.0)
        return self.threshold + (1 - self.threshold) * math.exp(-5.0 * (1.0 - t) ** 2)

    def compute(self, prediction: Prediction, codes: Tensor) -> Tensor:
        """Return the mean over the chosen entries with a certain teacher; 0 if there are none."""
        chosen = chosen_entries(self, prediction, codes, self.where, self.streams)
        chosen &= self._uncertainty(prediction, codes) < self.limit(prediction.progress)
        return chosen_mean(disagreement(prediction), chosen)

    def _uncertainty(self, prediction: Prediction, codes: Tensor) -> Tensor:
        """Return U / max U: `[B, N, *S]`, or `[B, 1, *S]` for a softmax."""
        mean = prediction.teacher_mean
        assert mean is not None  # guaranteed by `check`
        if prediction.head == MULTILABEL:
            return (entropy(mean) + entropy(1 - mean)) / math.log(2)
        if self.where == "all":
            return entropy(mean).sum(1, keepdim=True) / math.log(self.num_leaves)
        members = look_up(self.members, codes)
        inside = mean * members
        # A teacher without any mass inside the label set cannot distinguish its leaves.
        total = inside.sum(1, keepdim=True)
        share = torch.where(total > 0, inside / total, members / members.sum(1, keepdim=True))
        largest = members.sum(1, keepdim=True).to(mean).log()
        # The clamp avoids 0 / 0 at single leaves, whose largest entropy is 0.
        return entropy(share).sum(1, keepdim=True) / largest.clamp(min=math.log(2))


entropy: Callable[[Tensor], Tensor] = torch.special.entr
