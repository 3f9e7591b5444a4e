"""The passes over the logits of a softmax head."""

from collections.abc import Mapping

import torch
from torch import Tensor

from neoseg.losses.fused.compiled import compiled
from neoseg.losses.fused.kernels import NATIVE_SOFTMAX
from neoseg.losses.fused.passes import Passes
from neoseg.losses.fused.slabs import LARGEST, MOMENTS, sum_by_code, working_type


@compiled
def _sums_of_slab(
    slab: Tensor, code: Tensor, members: Tensor, wanted: tuple[str, ...]
) -> tuple[list[Tensor], tuple[Tensor, ...]]:
    """Return the sums of logits `[K, n]`, and log-sum-exp `[n]` with log P `[n]`."""
    z, num_codes = slab.to(working_type(slab)), members.shape[1]
    log_total = z.logsumexp(0)
    p = (z - log_total).exp()
    outside = ~members.index_select(1, code)
    log_mass = z.masked_fill(outside, -torch.inf).logsumexp(0) - log_total
    log_mass = log_mass.clamp(min=-LARGEST)
    sums = []
    for name in wanted:
        if name in MOMENTS:
            sums.append(sum_by_code(MOMENTS[name][0](p), code, num_codes))
        else:
            value = -log_mass if name == "cross_entropy" else (2 * log_mass).exp()
            sums.append(sum_by_code(value.unsqueeze(0), code, num_codes)[0])
    return sums, (log_total, log_mass)


@compiled
def _gradient_of_slab(
    slab: Tensor,
    code: Tensor,
    members: Tensor,
    slope: Mapping[str, Tensor],
    log_total: Tensor,
    log_mass: Tensor,
) -> Tensor:
    """Return the gradient of logits `[K, n]`, in their working type."""
    z = slab.to(log_total.dtype)
    p = (z - log_total).exp()
    result = torch.zeros_like(p)
    moments = [name for name in slope if name in MOMENTS]
    if moments:
        p_slope = torch.zeros_like(p)
        for name in moments:
            p_slope = p_slope + MOMENTS[name][1](p, slope[name].index_select(1, code))
        result = p * (p_slope - (p * p_slope).sum(0))
    if len(moments) < len(slope):
        # The gradient of log P is q - p, where q = p / P inside the label set, else 0.
        log_mass_slope = torch.zeros_like(log_mass)
        if "cross_entropy" in slope:
            log_mass_slope = log_mass_slope - slope["cross_entropy"].index_select(0, code)
        if "squared_mass" in slope:
            change = slope["squared_mass"].index_select(0, code)
            log_mass_slope = log_mass_slope + 2 * change * (2 * log_mass).exp()
        inside = members.index_select(1, code)
        q = torch.where(inside, z - (log_total + log_mass), -torch.inf).exp()
        # Where nothing is known, q equals p up to rounding.
        informed = ~members.all(0).index_select(0, code)
        result = result + torch.where(informed, log_mass_slope, 0.0) * (q - p)
    return result


SOFTMAX_PASSES = Passes(NATIVE_SOFTMAX, _sums_of_slab, _gradient_of_slab)
"""Sums of functions of p = softmax(logits): the keys of `MOMENTS`, and `MASS_SUMS`. The table has
the leaves that each code allows, bool `[K, R]`.
"""
