"""Mean teacher: consistency between a student and its moving average."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from neoseg.labels import STREAMS, Codebook, Stream
from neoseg.losses.fused.parallel import from_all_ranks, world_size
from neoseg.losses.term import (
    MULTILABEL,
    SOFTMAX,
    DenseTerm,
    LossTerm,
    Prediction,
    look_up,
)

Streams = Annotated[
    Literal["all"] | Stream | Annotated[tuple[Stream, ...], Field(min_length=1)],
    Field(description="all, full, partial, unlabelled, or a list of them: the items that count"),
]
Where = Annotated[
    Literal["all", "unknown"],
    Field(description="all: every entry; unknown: those that a voxel's label set leaves open"),
]


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


def disagreement(prediction: Prediction) -> Tensor:
    """Return the squared difference of student and teacher probabilities, `[B, N, *S]`."""
    assert prediction.teacher is not None  # guaranteed by `LossTerm.check`
    if prediction.head == MULTILABEL:
        student, teacher = prediction.logits.sigmoid(), prediction.teacher.sigmoid()
    else:
        student, teacher = prediction.logits.softmax(1), prediction.teacher.softmax(1)
    return (student - teacher).square()


def chosen_entries(
    term: LossTerm, prediction: Prediction, codes: Tensor, where: Where, streams: Streams
) -> Tensor:
    """Return the entries chosen by `where` and `streams`, bool `[B, N, *S]`.

    Raises:
        ValueError: `streams` is limited but the prediction has no streams.
    """
    chosen = torch.ones_like(prediction.logits, dtype=torch.bool)
    if where == "unknown":
        membership = look_up(term.membership, codes)
        chosen &= membership[:, : prediction.logits.shape[1]] < 0
    selected = STREAMS if streams == "all" else (streams,) if isinstance(streams, str) else streams
    if set(selected) < set(STREAMS):
        if prediction.stream is None:
            raise ValueError(
                f"{type(term).__name__} is limited to the streams {', '.join(selected)}, but the "
                "prediction does not say which stream each item is of; set streams: all or pass "
                "stream="
            )
        positions = [STREAMS.index(stream) for stream in selected]
        in_stream = torch.stack([prediction.stream == position for position in positions]).any(0)
        chosen &= in_stream.view(-1, *[1] * (chosen.dim() - 1))
    return chosen


def chosen_mean(values: Tensor, chosen: Tensor) -> Tensor:
    """Return the mean of the `chosen` entries of `values`; 0 with zero gradient if there are none.

    `chosen` has the shape of `values`. In distributed training the mean is over the items of all
    ranks: each rank returns its share times the number of ranks, over which gradients are averaged.
    """
    count = from_all_ranks(chosen.sum()[None]).sum().clamp(min=1)
    return torch.where(chosen, values, 0.0).sum() * world_size() / count
