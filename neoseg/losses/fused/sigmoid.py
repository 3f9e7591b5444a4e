"""The two passes over the logits of a multi-label head."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from neoseg.losses.fused.compiled import compiled
from neoseg.losses.fused.kernels import NativeSigmoid, usable
from neoseg.losses.fused.slabs import (
    MOMENTS,
    empty_gradient,
    slabs,
    sum_by_code,
    total_type,
    working_type,
)


class SigmoidSums(torch.autograd.Function):
    """Sums over the voxels of each item and code, of functions of y = sigmoid(logits).

    Returns a tensor `[B, C, R]` for each name of `wanted`: the keys of `MOMENTS`, and
    "cross_entropy", the sum of -log y where the code lies in the class, of -log(1 - y) where
    they are disjoint, and 0 where the code leaves the class open.
    """

    @staticmethod
    def forward(
        ctx: Any, logits: Tensor, codes: Tensor, membership: Tensor, wanted: tuple[str, ...]
    ) -> tuple[Tensor, ...]:
        """Accumulate; logits `[B, C, V]`, codes uint8 `[B, V]`, membership int8 `[C, R]`."""
        ctx.save_for_backward(logits, codes, membership)
        ctx.wanted = wanted
        if usable(logits, wanted):
            found = NativeSigmoid(membership).sums(logits, codes, wanted)
        else:
            found = _accumulate(logits, codes, membership, wanted)
        return tuple(found[name] for name in wanted)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *slopes: Tensor) -> tuple[Tensor | None, ...]:
        """Return the gradient of the logits, from the gradients of the sums."""
        logits, codes, membership = ctx.saved_tensors
        work = working_type(logits)
        slope = {name: s.to(work) for name, s in zip(ctx.wanted, slopes, strict=True)}
        if usable(logits, ctx.wanted):
            return NativeSigmoid(membership).gradient(logits, codes, slope), None, None, None
        return _spread(logits, codes, membership, slope), None, None, None


sigmoid_sums: Callable[..., tuple[Tensor, ...]] = SigmoidSums.apply


def _accumulate(
    logits: Tensor, codes: Tensor, membership: Tensor, wanted: tuple[str, ...]
) -> dict[str, Tensor]:
    shape = (logits.shape[0], *membership.shape)
    sums = {
        name: torch.zeros(shape, dtype=total_type(logits.device), device=logits.device)
        for name in wanted
    }
    for item, part in slabs(logits):
        found = _sums_of_slab(logits[item, :, part], codes[item, part].long(), membership, wanted)
        for name, value in zip(wanted, found, strict=True):
            sums[name][item] += value
    return sums


@compiled
def _sums_of_slab(
    slab: Tensor, code: Tensor, membership: Tensor, wanted: tuple[str, ...]
) -> list[Tensor]:
    """Sums `[C, R]` of logits `[C, n]`."""
    z = slab.to(working_type(slab))
    found = []
    for name in wanted:
        if name in MOMENTS:
            values = MOMENTS[name][0](z.sigmoid())
        else:
            side = membership.index_select(1, code)
            # -log y = -logsigmoid(z) and -log(1 - y) = -logsigmoid(-z).
            entropy = -F.logsigmoid(torch.where(side == 1, z, -z))
            values = torch.where(side >= 0, entropy, 0.0)
        found.append(sum_by_code(values, code, membership.shape[1]))
    return found


def _spread(
    logits: Tensor, codes: Tensor, membership: Tensor, slope: Mapping[str, Tensor]
) -> Tensor:
    """Return the gradient of the logits from that of the sums."""
    gradient = empty_gradient(logits)
    for item, part in slabs(logits):
        gradient[item, :, part] = _gradient_of_slab(
            logits[item, :, part],
            codes[item, part].long(),
            membership,
            {name: value[item] for name, value in slope.items()},
        )
    return gradient


@compiled
def _gradient_of_slab(
    slab: Tensor, code: Tensor, membership: Tensor, slope: Mapping[str, Tensor]
) -> Tensor:
    """Gradient of logits `[C, n]` in their working type."""
    y = slab.to(working_type(slab)).sigmoid()
    total = torch.zeros_like(y)
    for name in slope:
        if name in MOMENTS:
            change = MOMENTS[name][1](y, slope[name].index_select(1, code))
            total = total + change * (y - y.square())
        else:
            # The slope of the cross-entropy by the logit is y - x.
            side = membership.index_select(1, code)
            change = slope[name].index_select(1, code) * (y - (side == 1).to(y))
            total = total + torch.where(side >= 0, change, 0.0)
    return total
