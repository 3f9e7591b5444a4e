"""What the terms that learn from another network share: the entries that count, and targets."""

from typing import Annotated, Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from neoseg.labels import STREAMS, Stream
from neoseg.losses.fused.parallel import from_all_ranks, world_size
from neoseg.losses.fused.slabs import LARGEST
from neoseg.losses.term import MULTILABEL, LossTerm, Prediction, look_up

Streams = Annotated[
    Literal["all"] | Stream | Annotated[tuple[Stream, ...], Field(min_length=1)],
    Field(description="all, full, partial, unlabelled, or a list of them: the items that count"),
]
Where = Annotated[
    Literal["all", "unknown"],
    Field(description="all: every entry; unknown: those that a voxel's label set leaves open"),
]


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


def disagreement(prediction: Prediction) -> Tensor:
    """Return the squared difference of student and teacher probabilities, `[B, N, *S]`."""
    assert prediction.teacher is not None  # guaranteed by `LossTerm.check`
    if prediction.head == MULTILABEL:
        student, teacher = prediction.logits.sigmoid(), prediction.teacher.sigmoid()
    else:
        student, teacher = prediction.logits.softmax(1), prediction.teacher.softmax(1)
    return (student - teacher).square()


def allowed_evidence(term: LossTerm, logits: Tensor, head: str, codes: Tensor) -> Tensor:
    """Return the evidence for each leaf `[B, K, *S]`, minus infinity outside the label set.

    Its softmax is the probability of each leaf given that one leaf of the label set is correct.
    For sigmoids, taken as independent indicators, the evidence is the sum of the logits of the
    classes that contain the leaf.
    """
    count = term.num_leaves
    evidence = logits[:, :count]
    if head == MULTILABEL and logits.shape[1] > count:
        supers = term.class_leaves[count:].to(logits)
        evidence = evidence + torch.einsum("bc...,ck->bk...", logits[:, count:], supers)
    return evidence.masked_fill(~look_up(term.members, codes), -torch.inf)


def pseudo_label_loss(
    term: LossTerm,
    prediction: Prediction,
    leaf: Tensor,
    chosen: Tensor,
    kept: Tensor | None = None,
) -> Tensor:
    """Return the mean cross-entropy against one leaf per voxel, over the chosen entries.

    Args:
        term: provides the tables.
        prediction: its logits receive the gradient.
        leaf: int64 `[B, *S]`, leaf positions.
        chosen: bool `[B, N, *S]`; for a softmax a voxel is chosen if any of its entries is.
        kept: bool `[B, *S]`; the loss of other voxels counts as 0. None keeps all.
    """
    logits = prediction.logits.clamp(-LARGEST, LARGEST)
    if prediction.head == MULTILABEL:
        # Rows 1..K of every codebook are the single leaves in order.
        target = look_up(term.membership, (leaf + 1).to(torch.uint8)).to(logits)
        loss = F.binary_cross_entropy_with_logits(logits, target, reduction="none")
        kept = None if kept is None else kept.unsqueeze(1)
    else:
        loss = F.cross_entropy(logits, leaf, reduction="none")
        chosen = chosen.any(1)
    if kept is not None:
        loss = torch.where(kept, loss, 0.0)
    return chosen_mean(loss, chosen)
