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

    In each voxel the target is the leaf to which the peer gives most evidence among those that the
    label set allows (Chen et al. 2021, arXiv 2106.01226, where all are allowed). Evidence for a
    leaf is its logit, with sigmoids plus those of the super-classes that contain it. A sigmoid
    learns from the leaf as its class sees it; the mean is over the chosen entries. A softmax
    learns the leaf itself; the mean is over the voxels with a chosen entry. No gradient reaches
    the peer, which learns from this network by the same term.

    `where: unknown` chooses what the label set leaves open (elsewhere the target is the label,
    which other terms teach), all takes every entry; `streams` chooses items as in `MeanTeacher`.
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
        """Return the mean over the chosen entries or voxels; 0 where there is none."""
        assert prediction.peer is not None  # `check` has seen to it
        chosen = chosen_entries(self, prediction, codes, self.where, self.streams)
        evidence = allowed_evidence(self, prediction.peer, prediction.head, codes)
        return pseudo_label_loss(self, prediction, evidence.argmax(1), chosen)


def allowed_evidence(term: LossTerm, logits: Tensor, head: str, codes: Tensor) -> Tensor:
    """Evidence for each leaf, minus infinity outside the label set: `[B, K, *S]`.

    Its softmax is the probability of each leaf given that one of the label set is right: for
    sigmoids as independent indicators, the sum of the logits of the classes that hold the leaf.
    """
    count = term.num_leaves
    evidence = logits[:, :count]
    if head == MULTILABEL and logits.shape[1] > count:
        above = term.class_leaves[count:].to(logits)
        evidence = evidence + torch.einsum("bc...,ck->bk...", logits[:, count:], above)
    return evidence.masked_fill(~look_up(term.members, codes), -torch.inf)


def pseudo_label_loss(
    term: LossTerm,
    prediction: Prediction,
    leaf: Tensor,
    chosen: Tensor,
    kept: Tensor | None = None,
) -> Tensor:
    """Mean cross-entropy with a leaf per voxel over the chosen entries.

    Args:
        term: gives the tables.
        prediction: whose logits learn.
        leaf: int64 `[B, *S]`, leaf positions.
        chosen: bool `[B, N, *S]`; under a softmax a voxel is chosen with any of its entries.
        kept: bool `[B, *S]`; other voxels count as 0. None keeps all.
    """
    logits = prediction.logits.clamp(-LARGEST, LARGEST)
    if prediction.head == MULTILABEL:
        # In every codebook the rows 1..K are the single leaves in order.
        target = look_up(term.membership, (leaf + 1).to(torch.uint8)).to(logits)
        loss = F.binary_cross_entropy_with_logits(logits, target, reduction="none")
        kept = None if kept is None else kept.unsqueeze(1)
    else:
        loss = F.cross_entropy(logits, leaf, reduction="none")
        chosen = chosen.any(1)
    if kept is not None:
        loss = torch.where(kept, loss, 0.0)
    return chosen_mean(loss, chosen)
