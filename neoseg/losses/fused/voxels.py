"""Losses that sum one function over all voxels: value and gradient in one pass."""

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
        scale: factor from the sum to the loss, a scalar without gradient.
        weight: of the loss in the weighted sum.
    """

    total: Callable[[Tensor, Tensor], Tensor]
    scale: Tensor
    weight: float = 1.0


def voxel_sums(logits: Tensor, codes: Tensor, parts: Sequence[VoxelPart]) -> tuple[Tensor, Tensor]:
    """Return the weighted sum of the losses, and each loss `[parts]` without a gradient.

    Because the weights are known in advance, the gradient of the sum is computed together with its
    value, slab by slab; nothing else of the logits' size is saved.

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
        dtype = total_type(logits.device)
        scales = torch.stack([part.scale.to(dtype) for part in parts])
        # Weights stay numbers: copying a tensor of them to an accelerator would block the host.
        weighted = _weighted(scales, parts)
        unit = _unit(weighted, logits)
        weighted /= unit
        values = torch.zeros_like(scales)
        for item, voxels in slabs(logits):
            slab = logits[item : item + 1, :, voxels].to(working_type(logits))
            code = codes[item : item + 1, voxels]
            with torch.set_grad_enabled(with_gradient):
                slab = slab.clamp(-LARGEST, LARGEST).detach().requires_grad_(with_gradient)
                totals = torch.stack([part.total(slab, code) for part in parts])
                objective = (totals * weighted.to(totals)).sum()
            if gradient is not None:
                gradient[item, :, voxels] = torch.autograd.grad(objective, slab)[0][0]
            values += totals.detach()
        values *= scales
        ctx.save_for_backward(gradient, unit)
        ctx.mark_non_differentiable(values)
        return _weighted(values, parts).sum(), values

    @staticmethod
    @differentiable_once
    def backward(ctx: Any, slope: Tensor, _: Tensor) -> tuple[Tensor | None, ...]:
        gradient, unit = ctx.saved_tensors
        if gradient.dtype != torch.float16:
            return gradient * slope.to(gradient), None, None
        factor, scaled = (slope * unit).float(), empty_gradient(gradient)
        for item, voxels in slabs(gradient):  # in float32, as the factor may overflow float16
            scaled[item, :, voxels] = gradient[item, :, voxels].float() * factor
        return scaled, None, None


def _unit(weighted: Tensor, logits: Tensor) -> Tensor:
    """Return the unit of the saved gradient: 1 unless the logits are float16.

    In float16 a voxel's share of a mean would underflow to 0 before the incoming gradient, which
    scales it, is known. The unit is a power of two, as are the factors of a gradient scaler, so
    that multiplying by it rounds nothing.
    """
    unit = torch.ones_like(weighted[0])
    if logits.dtype != torch.float16:
        return unit
    largest = weighted.abs().amax().clamp(min=torch.finfo(torch.float32).tiny)
    return torch.ldexp(unit, torch.frexp(largest).exponent)


def _weighted(values: Tensor, parts: Sequence[VoxelPart]) -> Tensor:
    """Multiply `values` `[parts]` by the weights of the parts."""
    pairs = zip(values.unbind(), parts, strict=True)
    return torch.stack([value * part.weight for value, part in pairs])


_voxel_sums: Callable[..., tuple[Tensor, Tensor]] = _VoxelSums.apply
