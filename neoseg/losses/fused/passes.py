"""The two passes over the logits of a head: sums in forward, their gradient in backward."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from neoseg.losses.fused.kernels import NativePasses, usable
from neoseg.losses.fused.slabs import (
    differentiable_once,
    empty_gradient,
    slabs,
    total_type,
    working_type,
)


@dataclass(frozen=True)
class Passes:
    """The head-specific part of the two passes; a slab is logits `[N, n]`, with codes int64 `[n]`.

    Attributes:
        native: the passes in C, with the names of the sums.
        sums: maps (slab, codes, table, wanted) to the sums, and the saved values, each `[n]`.
        gradient: maps (slab, codes, table, slope, *saved values) to the gradient of the slab.
    """

    native: NativePasses
    sums: Callable[
        [Tensor, Tensor, Tensor, tuple[str, ...]], tuple[list[Tensor], tuple[Tensor, ...]]
    ]
    gradient: Callable[..., Tensor]


class HeadSums(torch.autograd.Function):
    """Sums over the voxels of each item and code, one tensor for each name in `wanted`.

    Forward reads the logits once; backward reads them once more and writes their gradient.
    """

    @staticmethod
    def forward(
        ctx: Any,
        passes: Passes,
        logits: Tensor,
        codes: Tensor,
        table: Tensor,
        wanted: tuple[str, ...],
    ) -> tuple[Tensor, ...]:
        """Return the sums of logits `[B, N, V]`, codes uint8 `[B, V]`, and the head's table
        `[N, R]`.
        """
        if usable(logits, wanted):
            sums, saved = passes.native.sums(logits, codes, table, wanted)
        else:
            sums, saved = _accumulate(passes, logits, codes, table, wanted)
        ctx.save_for_backward(logits, codes, table, *saved)
        ctx.passes, ctx.wanted = passes, wanted
        return tuple(sums[name] for name in wanted)

    @staticmethod
    @differentiable_once
    def backward(ctx: Any, *slopes: Tensor) -> tuple[Tensor | None, ...]:
        """Return the gradient of the logits, given the gradients of the sums."""
        logits, codes, table, *saved = ctx.saved_tensors
        work = working_type(logits)
        slope = {name: s.to(work) for name, s in zip(ctx.wanted, slopes, strict=True)}
        if usable(logits, ctx.wanted):
            gradient = ctx.passes.native.gradient(logits, codes, table, slope, *saved)
        else:
            gradient = _logit_gradient(ctx.passes, logits, codes, table, slope, saved)
        return None, gradient, None, None, None


head_sums: Callable[..., tuple[Tensor, ...]] = HeadSums.apply


def _accumulate(
    passes: Passes, logits: Tensor, codes: Tensor, table: Tensor, wanted: tuple[str, ...]
) -> tuple[dict[str, Tensor], list[Tensor]]:
    """Return the sums by name, and the values `[B, V]` saved for the gradient."""
    batch, channels, voxels = logits.shape
    dtype, num_codes = total_type(logits.device), table.shape[1]
    sums = {}
    for name in wanted:
        shape = (
            (batch, num_codes) if name in passes.native.by_code else (batch, channels, num_codes)
        )
        sums[name] = torch.zeros(shape, dtype=dtype, device=logits.device)
    saved = [
        torch.empty(batch, voxels, dtype=working_type(logits), device=logits.device)
        for _ in range(2 if passes.native.by_code else 0)
    ]
    for item, part in slabs(logits):
        slab, code = logits[item, :, part], codes[item, part].long()
        slab_sums, values = passes.sums(slab, code, table, wanted)
        for target, value in zip(saved, values, strict=True):
            target[item, part] = value
        for name, value in zip(wanted, slab_sums, strict=True):
            sums[name][item] += value
    return sums, saved


def _logit_gradient(
    passes: Passes,
    logits: Tensor,
    codes: Tensor,
    table: Tensor,
    slope: Mapping[str, Tensor],
    saved: list[Tensor],
) -> Tensor:
    """Return the gradient of the logits, slab by slab, given the gradient `slope` of the sums."""
    gradient = empty_gradient(logits)
    for item, part in slabs(logits):
        gradient[item, :, part] = passes.gradient(
            logits[item, :, part],
            codes[item, part].long(),
            table,
            {name: value[item] for name, value in slope.items()},
            *(values[item, part] for values in saved),
        )
    return gradient
