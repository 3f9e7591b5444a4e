"""Mean teacher: consistency between a student and its moving average."""

from __future__ import annotations

from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor

from neoseg.labels import Codebook
from neoseg.losses.term import (
    MULTILABEL,
    SOFTMAX,
    STREAMS,
    LossTerm,
    Prediction,
    look_up,
    masked_mean,
)

Stream = Literal["full", "partial", "unlabelled"]
Streams = Annotated[tuple[Stream, ...], Field(min_length=1)]


class MeanTeacher(LossTerm):
    """Mean squared difference of student and teacher probabilities.

    loss = mean over the chosen entries of (y_student - y_teacher)^2 (Tarvainen & Valpola 2017),
    over C sigmoids or K softmax probabilities; no gradient reaches the teacher. `where` chooses
    entries: all, or only the classes (leaves) that the voxel's label set leaves open. `streams`
    chooses items: all, one of full, partial, unlabelled, or a list of them.
    """

    heads = frozenset({MULTILABEL, SOFTMAX})
    needs_teacher = True

    def __init__(
        self,
        codebook: Codebook,
        *,
        where: Literal["all", "unknown"] = "all",
        streams: Literal["all"] | Stream | Streams = "all",
    ) -> None:
        super().__init__(codebook)
        self.where = where
        named = STREAMS if streams == "all" else streams
        chosen = (named,) if isinstance(named, str) else tuple(named)
        self.streams = tuple(STREAMS.index(stream) for stream in chosen)

    def compute(self, prediction: Prediction, codes: Tensor) -> Tensor:
        """Return the mean over the chosen entries; 0 where there is none.

        Raises:
            ValueError: `streams` chooses items and the prediction does not say their streams.
        """
        assert prediction.teacher is not None  # `forward` has checked it
        if prediction.head == MULTILABEL:
            student, teacher = prediction.logits.sigmoid(), prediction.teacher.sigmoid()
        else:
            student, teacher = prediction.logits.softmax(1), prediction.teacher.softmax(1)
        chosen = torch.ones_like(student, dtype=torch.bool)
        if self.where == "unknown":
            chosen &= self._open(prediction.head, codes)
        if len(self.streams) < len(STREAMS):
            if prediction.stream is None:
                raise ValueError(
                    "mean_teacher is limited to some streams, but the prediction does not say "
                    "which stream each item is of; set streams: all or pass Prediction.stream"
                )
            wanted = torch.zeros_like(prediction.stream, dtype=torch.bool)
            for stream in self.streams:
                wanted |= prediction.stream == stream
            chosen &= wanted.view(-1, *[1] * (chosen.dim() - 1))
        return masked_mean((student - teacher).square(), chosen)

    def _open(self, head: str, codes: Tensor) -> Tensor:
        """Bool `[B, N, *S]`: what the label set leaves open."""
        membership = look_up(self.membership, codes)
        return (membership if head == MULTILABEL else membership[:, : self.num_leaves]) < 0
