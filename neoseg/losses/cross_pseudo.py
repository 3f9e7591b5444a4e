"""Cross pseudo supervision: two networks teach each other."""

from __future__ import annotations

from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from neoseg.labels import Codebook
from neoseg.losses.fused.slabs import LARGEST
from neoseg.losses.mean_teacher import Streams, Where, chosen_entries, chosen_mean
from neoseg.losses.term import (
    MULTILABEL,
    SOFTMAX,
    DenseTerm,
    LossTerm,
    Prediction,
    look_up,
)


class CrossPseudo(DenseTerm):
    """Cross-entropy with the hard decisions of a second network inside the label sets.

    In each voxel the target is the leaf with the most evidence from the peer among those that the
    label set allows (Chen et al. 2021, arXiv 2106.01226, where all are allowed). The evidence for
    a leaf is its logit, plus, for sigmoids, the logits of the super-classes that contain it. Each
    sigmoid learns whether its class contains the target leaf; the mean is over the chosen entries.
    A softmax learns the leaf itself; the mean is over the voxels with a chosen entry. No gradient
    reaches the peer, which learns from this network through the same term.

    `where: unknown` chooses the entries that the label set leaves open (elsewhere the target equals
    the label, which other terms teach), `all` every entry; `streams` chooses items as in
    `MeanTeacher`.
    """

    heads = frozenset({MULTILABEL, SOFTMAX})
    needs_peer = True
    ramp: ClassVar = {"share": 1.0, "shape": "sigmoid", "start": 0.0}

    def __init__(
        self, codebook: Codebook, *, where: Where = "unknown", streams: Streams = "all"
    ) -> None:
        super().__init__(codebook)
        self.where = where
        self.streams = streams

    def compute(self, prediction: Prediction, codes: Tensor) -> Tensor:
        """Return the mean over the chosen entries or voxels; 0 if there are none."""
        assert prediction.peer is not None  # guaranteed by `check`
        chosen = chosen_entries(self, prediction, codes, self.where, self.streams)
        evidence = allowed_evidence(self, prediction.peer, prediction.head, codes)
        return pseudo_label_loss(self, prediction, evidence.argmax(1), chosen)


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
