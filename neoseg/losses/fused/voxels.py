"""Losses that are a sum of one function of each voxel: value and gradient in one pass."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from neoseg.losses.fused.slabs import (
    LARGEST,
    differentiable_once,
    empty_gradient,
    slabs,
    total_type,
    working_type,
)


@dataclass(frozen=True)
class VoxelPart:
    """One loss of a weighted sum.

    Attributes:
        total: maps logits `[1, N, n]` and codes `[1, n]` to the sum over these voxels.
        scale: what the sum is multiplied with to give the loss, a scalar without gradient.
        weight: of the loss in the weighted sum.
    """

    total: Callable[[Tensor, Tensor], Tensor]
    scale: Tensor
    weight: float = 1.0


def voxel_sums(logits: Tensor, codes: Tensor, parts: Sequence[VoxelPart]) -> tuple[Tensor, Tensor]:
    """Return the weighted sum of the losses, and each loss `[parts]` without a gradient.

    Because the weights are known beforehand, the gradient of the sum is made together with its
    value, slab by slab; nothing else of the logits' size is kept.

    Args:
        logits: `[B, N, *S]`, any floating type; the arithmetic is in float32 or float64.
        codes: uint8 `[B, *S]`.
        parts: the losses.
    """
    return _voxel_sums(logits.flatten(2), codes.flatten(1), tuple(parts))


class _VoxelSums(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, logits: Tensor, codes: Tensor, parts: tuple[VoxelPart, ...]
    ) -> tuple[Tensor, Tensor]:
        with_gradient = ctx.needs_input_grad[0]
        gradient = empty_gradient(logits) if with_gradient else None
        kind = total_type(logits.device)
        scales = torch.stack([part.scale.to(kind) for part in parts])
        # As a tensor, the weights would be copied to an accelerator, which the program waits for.
        weighted = _times(scales, parts)
        unit = _unit(weighted, logits)
        weighted /= unit
        values = torch.zeros_like(scales)
        for item, voxels in slabs(logits):
            slab = logits[item : item + 1, :, voxels].to(working_type(logits))
            code = codes[item : item + 1, voxels]
            with torch.set_grad_enabled(with_gradient):
                slab = slab.clamp(-LARGEST, LARGEST).detach().requires_grad_(with_gradient)
                found = torch.stack([part.total(slab, code) for part in parts])
                objective = (found * weighted.to(found)).sum()
            if gradient is not None:
                gradient[item, :, voxels] = torch.autograd.grad(objective, slab)[0][0]
            values += found.detach()
        values *= scales
        ctx.save_for_backward(gradient, unit)
        ctx.mark_non_differentiable(values)
        return _times(values, parts).sum(), values

    @staticmethod
    @differentiable_once
    def backward(ctx: Any, slope: Tensor, _: Tensor) -> tuple[Tensor | None, ...]:
        gradient, unit = ctx.saved_tensors
        if gradient.dtype != torch.float16:
            return gradient * slope.to(gradient), None, None
        factor, found = (slope * unit).float(), empty_gradient(gradient)
        for item, voxels in slabs(gradient):  # as float16 may not hold the factor
            found[item, :, voxels] = gradient[item, :, voxels].float() * factor
        return found, None, None


def _unit(weighted: Tensor, logits: Tensor) -> Tensor:
    """Return what the kept gradient is counted in: 1, where the logits' type holds small numbers.

    In float16 a voxel's share of a mean would be 0 before the slope, which scales it, is known.
    Powers of two round nothing, and so do those of a scaler of gradients.
    """
    one = torch.ones_like(weighted[0])
    if logits.dtype != torch.float16:
        return one
    largest = weighted.abs().amax().clamp(min=torch.finfo(torch.float32).tiny)
    return torch.ldexp(one, torch.frexp(largest).exponent)


def _times(values: Tensor, parts: Sequence[VoxelPart]) -> Tensor:
    pairs = zip(values.unbind(), parts, strict=True)
    return torch.stack([value * part.weight for value, part in pairs])


_voxel_sums: Callable[..., tuple[Tensor, Tensor]] = _VoxelSums.apply
