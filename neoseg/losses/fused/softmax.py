"""The two passes over the logits of a softmax head."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from neoseg.losses.fused.label_sets import LabelSets
from neoseg.losses.fused.native import NativeSoftmax, usable
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

LOWEST = {torch.float32: -80.0, torch.float64: -600.0}
"""Log P below which P is too small to be divided by; such voxels are computed from the logits."""


class SoftmaxSums(torch.autograd.Function):
    """Sums over the voxels of each item and code, of functions of p = softmax(logits).

    Forward reads the logits once, backward once more and writes their gradient; what is kept in
    between has one or two values a voxel. Returns one tensor for each name of `wanted`:
    `[B, K, R]` for the keys of `MOMENTS`, `[B, R]` for `MASS_SUMS`.
    """

    @staticmethod
    def forward(
        ctx: Any, logits: Tensor, codes: Tensor, members: Tensor, wanted: tuple[str, ...]
    ) -> tuple[Tensor, ...]:
        """Accumulate; logits `[B, K, V]`, codes uint8 `[B, V]`, members bool `[K, R]`."""
        ctx.wanted = wanted
        if usable(logits, wanted):
            sums, log_total, log_mass = NativeSoftmax(members).sums(logits, codes, wanted)
            ctx.save_for_backward(logits, codes, members, log_total, log_mass)
            return tuple(sums[name] for name in wanted)
        batch, channels, voxels = logits.shape
        work, num_codes = working_type(logits), members.shape[1]
        with_mass = any(name in MASS_SUMS for name in wanted)
        shapes = {
            name: (batch, num_codes) if name in MASS_SUMS else (batch, channels, num_codes)
            for name in wanted
        }
        sums = {
            name: torch.zeros(shape, dtype=total_type(logits.device), device=logits.device)
            for name, shape in shapes.items()
        }
        log_total = torch.empty(batch, voxels, dtype=work, device=logits.device)
        log_mass = torch.empty(batch, voxels if with_mass else 0, dtype=work, device=logits.device)
        sets = LabelSets.of(members, work)
        for item, part in slabs(logits):
            slab, code = logits[item, :, part], codes[item, part].long()
            top = slab.amax(0).to(work)
            p = torch.sub(slab, top).exp_()
            total = p.sum(0)
            log_total[item, part] = top + total.log()
            p.div_(total)
            for name in wanted:
                if name in MOMENTS:
                    sums[name][item] += sum_by_code(MOMENTS[name][0](p), code, num_codes)
            if with_mass:
                inside = _log_mass(slab, p, sets, code, log_total[item, part])
                log_mass[item, part] = inside
                values = torch.stack([-inside, (2 * inside).exp()])
                by_code = sum_by_code(values, code, num_codes)
                for name in wanted:
                    if name in MASS_SUMS:
                        sums[name][item] += by_code[MASS_SUMS.index(name)]
        ctx.save_for_backward(logits, codes, members, log_total, log_mass)
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
            return gradient, None, None, None
        moments = [name for name in ctx.wanted if name in MOMENTS]
        sets = LabelSets.of(members, work)
        gradient = empty_gradient(logits)
        for item, part in slabs(logits):
            slab, code = logits[item, :, part], codes[item, part].long()
            p = torch.sub(slab, log_total[item, part]).exp_()
            pull = _moment_slope(p, moments, slope, item, code)
            if log_mass.numel():
                # d(log P)/dp_k = 1/P for the leaves k of the label set.
                mass = log_mass[item, part]
                toward = _mass_slope(mass, slope, item, code)
                low = mass < LOWEST[work]
                if low.any():
                    exact = toward[low] * (
                        sets.inside(slab[:, low], code[low]).softmax(0) - p[:, low]
                    )
                    toward, mass = (value.masked_fill(low, 0.0) for value in (toward, mass))
                sets.add_to(pull, code, toward.mul_(mass.neg().exp_()))
            pull.sub_(torch.linalg.vecdot(p, pull, dim=0))
            torch.mul(p, pull, out=gradient[item, :, part])
            if log_mass.numel() and low.any():
                gradient[item, :, part][:, low] += exact.to(gradient)
        return gradient, None, None, None


def _moment_slope(
    p: Tensor, moments: list[str], slope: dict[str, Tensor], item: int, code: Tensor
) -> Tensor:
    """dL/dp `[K, n]` through the moments."""
    total: Tensor | None = None
    for name in moments:
        part = MOMENTS[name][1](p, slope[name][item].index_select(1, code))
        total = part if total is None else total.add_(part)
    return torch.zeros_like(p) if total is None else total


def _mass_slope(mass: Tensor, slope: dict[str, Tensor], item: int, code: Tensor) -> Tensor:
    """dL/d(log P) `[n]` through the sums over P; `mass` is log P."""
    total = torch.zeros_like(mass)
    if "cross_entropy" in slope:
        total -= slope["cross_entropy"][item].index_select(0, code)
    if "squared_mass" in slope:
        total += 2 * slope["squared_mass"][item].index_select(0, code) * (2 * mass).exp()
    return total


def _log_mass(slab: Tensor, p: Tensor, sets: LabelSets, code: Tensor, total: Tensor) -> Tensor:
    """Log of P `[n]`; `total` is the log-sum-exp of all logits."""
    mass = sets.mass(p, code)
    log_mass = mass.clamp(min=torch.finfo(mass.dtype).tiny).log()
    low = log_mass < LOWEST[mass.dtype]
    if low.any():
        log_mass[low] = sets.inside(slab[:, low], code[low]).logsumexp(0) - total[low]
    return log_mass.clamp_(max=0)
