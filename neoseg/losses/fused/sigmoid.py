"""The two passes over the logits of a multi-label head."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from neoseg.losses.fused.native import NativeSigmoid, usable
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
            return tuple(found[name] for name in wanted)
        batch, channels, _ = logits.shape
        work, num_codes = working_type(logits), membership.shape[1]
        shape = (batch, channels, num_codes)
        sums = {
            name: torch.zeros(shape, dtype=total_type(logits.device), device=logits.device)
            for name in wanted
        }
        # -log y = -logsigmoid(z) and -log(1 - y) = -logsigmoid(-z).
        sign = (2 * (membership == 1).to(work) - 1).contiguous()
        for item, part in slabs(logits):
            slab, code = logits[item, :, part].to(work), codes[item, part].long()
            y = slab.sigmoid() if any(name in MOMENTS for name in wanted) else slab
            for name in wanted:
                if name in MOMENTS:
                    values = MOMENTS[name][0](y)
                else:
                    values = F.logsigmoid(sign.index_select(1, code).mul_(slab)).neg_()
                sums[name][item] += sum_by_code(values, code, num_codes)
        if "cross_entropy" in sums:
            sums["cross_entropy"].masked_fill_(membership < 0, 0.0)
        return tuple(sums[name] for name in wanted)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *slopes: Tensor) -> tuple[Tensor | None, ...]:
        """Return the gradient of the logits, from the gradients of the sums."""
        logits, codes, membership = ctx.saved_tensors
        work = working_type(logits)
        slope = {name: s.to(work) for name, s in zip(ctx.wanted, slopes, strict=True)}
        if usable(logits, ctx.wanted):
            return NativeSigmoid(membership).gradient(logits, codes, slope), None, None, None
        moments = [name for name in ctx.wanted if name in MOMENTS]
        positive = (membership == 1).to(work)
        if "cross_entropy" in slope:
            weight = slope["cross_entropy"].masked_fill(membership < 0, 0.0)
            target = weight * positive
        gradient = empty_gradient(logits)
        for item, part in slabs(logits):
            y, code = logits[item, :, part].to(work).sigmoid(), codes[item, part].long()
            total = torch.zeros_like(y)
            for name in moments:
                total += MOMENTS[name][1](y, slope[name][item].index_select(1, code))
            if moments:
                total.mul_(y - y.square())
            if "cross_entropy" in slope:
                # The slope of the cross-entropy by the logit is y - x.
                total.addcmul_(weight[item].index_select(1, code), y)
                total.sub_(target[item].index_select(1, code))
            gradient[item, :, part] = total
        return gradient, None, None, None
