"""The two passes over the logits of a softmax head."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from neoseg.losses.fused.compiled import compiled
from neoseg.losses.fused.kernels import NativeSoftmax, usable
from neoseg.losses.fused.slabs import (
    MOMENTS,
    empty_gradient,
    slabs,
    sum_by_code,
    total_type,
    working_type,
)

MASS_SUMS = ("cross_entropy", "squared_mass")
"""Sums per code over P, the probability of a voxel's label set: of -log P, and of P^2."""


class SoftmaxSums(torch.autograd.Function):
    """Sums over the voxels of each item and code, of functions of p = softmax(logits).

    Forward reads the logits once, backward once more and writes their gradient; what is kept in
    between has two values a voxel. Returns one tensor for each name of `wanted`: `[B, K, R]` for
    the keys of `MOMENTS`, `[B, R]` for `MASS_SUMS`.
    """

    @staticmethod
    def forward(
        ctx: Any, logits: Tensor, codes: Tensor, members: Tensor, wanted: tuple[str, ...]
    ) -> tuple[Tensor, ...]:
        """Accumulate; logits `[B, K, V]`, codes uint8 `[B, V]`, members bool `[K, R]`."""
        if usable(logits, wanted):
            sums, log_total, log_mass = NativeSoftmax(members).sums(logits, codes, wanted)
        else:
            sums, log_total, log_mass = _accumulate(logits, codes, members, wanted)
        ctx.save_for_backward(logits, codes, members, log_total, log_mass)
        ctx.wanted = wanted
        return tuple(sums[name] for name in wanted)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *slopes: Tensor) -> tuple[Tensor | None, ...]:
        """Return the gradient of the logits, from the gradients of the sums."""
        logits, codes, members, log_total, log_mass = ctx.saved_tensors
        work = working_type(logits)
        slope = {name: s.to(work) for name, s in zip(ctx.wanted, slopes, strict=True)}
        if usable(logits, ctx.wanted):
            native = NativeSoftmax(members)
            gradient = native.gradient(logits, codes, slope, log_total, log_mass)
        else:
            gradient = _spread(logits, codes, members, slope, log_total, log_mass)
        return gradient, None, None, None


softmax_sums: Callable[..., tuple[Tensor, ...]] = SoftmaxSums.apply


def _accumulate(
    logits: Tensor, codes: Tensor, members: Tensor, wanted: tuple[str, ...]
) -> tuple[dict[str, Tensor], Tensor, Tensor]:
    """Return the sums, log-sum-exp `[B, V]` and log P `[B, V]`."""
    batch, channels, voxels = logits.shape
    kind, num_codes = total_type(logits.device), members.shape[1]
    sums = {}
    for name in wanted:
        shape = (batch, num_codes) if name in MASS_SUMS else (batch, channels, num_codes)
        sums[name] = torch.zeros(shape, dtype=kind, device=logits.device)
    log_total = torch.empty(batch, voxels, dtype=working_type(logits), device=logits.device)
    log_mass = torch.empty_like(log_total)
    for item, part in slabs(logits):
        found, total, mass = _sums_of_slab(
            logits[item, :, part], codes[item, part].long(), members, wanted
        )
        log_total[item, part], log_mass[item, part] = total, mass
        for name, value in zip(wanted, found, strict=True):
            sums[name][item] += value
    return sums, log_total, log_mass


@compiled
def _sums_of_slab(
    slab: Tensor, code: Tensor, members: Tensor, wanted: tuple[str, ...]
) -> tuple[list[Tensor], Tensor, Tensor]:
    """Sums, log-sum-exp `[n]` and log P `[n]` of logits `[K, n]`."""
    z, num_codes = slab.to(working_type(slab)), members.shape[1]
    log_total = z.logsumexp(0)
    p = (z - log_total).exp()
    outside = ~members.index_select(1, code)
    log_mass = z.masked_fill(outside, -torch.inf).logsumexp(0) - log_total
    found = []
    for name in wanted:
        if name in MOMENTS:
            found.append(sum_by_code(MOMENTS[name][0](p), code, num_codes))
        else:
            value = -log_mass if name == "cross_entropy" else (2 * log_mass).exp()
            found.append(sum_by_code(value.unsqueeze(0), code, num_codes)[0])
    return found, log_total, log_mass


def _spread(
    logits: Tensor,
    codes: Tensor,
    members: Tensor,
    slope: Mapping[str, Tensor],
    log_total: Tensor,
    log_mass: Tensor,
) -> Tensor:
    """Return the gradient of the logits from that of the sums."""
    gradient = empty_gradient(logits)
    for item, part in slabs(logits):
        gradient[item, :, part] = _gradient_of_slab(
            logits[item, :, part],
            codes[item, part].long(),
            members,
            {name: value[item] for name, value in slope.items()},
            log_total[item, part],
            log_mass[item, part],
        )
    return gradient


@compiled
def _gradient_of_slab(
    slab: Tensor,
    code: Tensor,
    members: Tensor,
    slope: Mapping[str, Tensor],
    log_total: Tensor,
    log_mass: Tensor,
) -> Tensor:
    """Gradient of logits `[K, n]` in their working type."""
    z = slab.to(log_total.dtype)
    p = (z - log_total).exp()
    result = torch.zeros_like(p)
    moments = [name for name in slope if name in MOMENTS]
    if moments:
        pull = torch.zeros_like(p)
        for name in moments:
            pull = pull + MOMENTS[name][1](p, slope[name].index_select(1, code))
        result = p * (pull - (p * pull).sum(0))
    if len(moments) < len(slope):
        # The gradient of log P by the logits is q - p, where q = p / P inside the label set.
        toward = torch.zeros_like(log_mass)
        if "cross_entropy" in slope:
            toward = toward - slope["cross_entropy"].index_select(0, code)
        if "squared_mass" in slope:
            change = slope["squared_mass"].index_select(0, code)
            toward = toward + 2 * change * (2 * log_mass).exp()
        inside = members.index_select(1, code)
        q = torch.where(inside, z - (log_total + log_mass), -torch.inf).exp()
        # Where nothing is known, q is p but for rounding.
        known = ~members.all(0).index_select(0, code)
        result = result + torch.where(known, toward, 0.0) * (q - p)
    return result
