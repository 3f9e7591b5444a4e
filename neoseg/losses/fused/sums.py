"""Sums of a batch by item and code, from which Dice-like and CE-like losses are computed."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, fields, replace
from typing import Any

import torch
from torch import Tensor

from neoseg.losses.fused.compiled import compiled
from neoseg.losses.fused.parallel import from_all_ranks
from neoseg.losses.fused.passes import head_sums
from neoseg.losses.fused.sigmoid import SIGMOID_PASSES
from neoseg.losses.fused.slabs import slabs, total_type
from neoseg.losses.fused.softmax import SOFTMAX_PASSES
from neoseg.losses.term import MULTILABEL, LossTerm, Prediction


@dataclass(frozen=True)
class Sums:
    """Sums over the voxels of item b whose code is r, float64; None if not requested.

    In distributed training the items are those of all ranks, so that a loss computed from them is,
    on each rank, the loss of the whole batch.

    Attributes:
        head: name of the head; N = C for "multilabel", N = K for "softmax".
        count: number of voxels, `[B, R]`.
        probability, squared, log1p: of p, p^2 and log(1 + p), `[B, N, R]`.
        cross_entropy: softmax: of -log P, P the mass of the label set, `[B, R]`; multi-label: of
            each class's cross-entropy with its membership, open classes 0, `[B, C, R]`.
        squared_mass: softmax only: of P^2, `[B, R]`.
    """

    head: str
    count: Tensor
    probability: Tensor | None = None
    squared: Tensor | None = None
    log1p: Tensor | None = None
    cross_entropy: Tensor | None = None
    squared_mass: Tensor | None = None

    def pooled(self) -> Sums:
        """Return the sums of the whole batch, as if it were one item."""
        values: dict[str, Any] = {"count": self.count.sum(0, keepdim=True)}
        for name in SUMS:
            value = getattr(self, name)
            values[name] = None if value is None else value.sum(0, keepdim=True)
        return replace(self, **values)

    def of(self, name: str) -> Tensor:
        """Return a sum by name.

        Raises:
            KeyError: the sum was not requested.
        """
        value: Tensor | None = getattr(self, name)
        if value is None:
            raise KeyError(f"the sum '{name}' was not asked for; add it to the term's `wanted`")
        return value


SUMS = frozenset(field.name for field in fields(Sums)) - {"head", "count"}
"""Names of the sums that a term may request in `wanted`."""


def accumulate(
    prediction: Prediction, codes: Tensor, term: LossTerm, wanted: Iterable[str]
) -> Sums:
    """Sum over voxels in one pass over the logits; differentiable once, in a second pass.

    Memory beyond the logits and their gradient: a slab of voxels and at most two values per voxel.

    Args:
        prediction: logits `[B, N, *S]` of any floating type (the arithmetic is in float32 or
            float64), and their head.
        codes: uint8 `[B, *S]`.
        term: any term of the objective; its tables define the codes.
        wanted: names in `SUMS`; if empty, voxels are only counted.
    """
    logits = prediction.logits
    values = [count_codes(codes, term.codebook.size)]
    names = tuple(sorted(set(wanted)))
    if names:
        flat = logits.flatten(2), codes.flatten(1)
        if prediction.head == MULTILABEL:
            values += head_sums(SIGMOID_PASSES, *flat, term.membership, names)
        else:
            values += head_sums(SOFTMAX_PASSES, *flat, term.members, names)
    if logits.requires_grad:
        values = [from_all_ranks(value) for value in values]
    return Sums(prediction.head, **dict(zip(("count", *names), values, strict=True)))


def count_codes(codes: Tensor, num_codes: int) -> Tensor:
    """Count the voxels of each code: uint8 `[B, *S]` -> float64 `[B, R]`."""
    flat, dtype = codes.flatten(1), total_type(codes.device)
    if not counts_itself(codes.device):
        total = torch.zeros(len(flat), num_codes, dtype=dtype, device=codes.device)
        for item, part in slabs(flat.unsqueeze(1).expand(-1, num_codes, -1)):
            total[item] += _count_of_slab(flat[item, part], num_codes)
        return total
    offset = torch.arange(len(flat)).unsqueeze(1) * num_codes
    count = torch.bincount((flat.long() + offset).flatten(), minlength=len(flat) * num_codes)
    return count.view(len(flat), num_codes).to(dtype)


def counts_itself(device: torch.device) -> bool:
    """Return whether to use bincount, which blocks the host on accelerators."""
    return device.type == "cpu"


@compiled
def _count_of_slab(codes: Tensor, num_codes: int) -> Tensor:
    """Count the voxels of each code `[R]` among codes `[n]`."""
    return (torch.arange(num_codes, device=codes.device).unsqueeze(1) == codes).sum(1)
