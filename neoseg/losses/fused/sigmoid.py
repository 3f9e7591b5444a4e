"""The passes over the logits of a multi-label head."""

from __future__ import annotations

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor

from neoseg.losses.fused.compiled import compiled
from neoseg.losses.fused.kernels import NativeSigmoid
from neoseg.losses.fused.passes import Passes
from neoseg.losses.fused.slabs import LARGEST, MOMENTS, sum_by_code, working_type


@compiled
def _sums_of_slab(
    slab: Tensor, code: Tensor, membership: Tensor, wanted: tuple[str, ...]
) -> tuple[list[Tensor], tuple[Tensor, ...]]:
    """Sums `[C, R]` of logits `[C, n]`."""
    z = slab.to(working_type(slab))
    found = []
    for name in wanted:
        if name in MOMENTS:
            values = MOMENTS[name][0](z.sigmoid())
        else:
            side = membership.index_select(1, code)
            # -log y = -logsigmoid(z) and -log(1 - y) = -logsigmoid(-z).
            entropy = -F.logsigmoid(torch.where(side == 1, z, -z)).clamp(min=-LARGEST)
            values = torch.where(side >= 0, entropy, 0.0)
        found.append(sum_by_code(values, code, membership.shape[1]))
    return found, ()


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


SIGMOID_PASSES = Passes(NativeSigmoid, (), 0, _sums_of_slab, _gradient_of_slab)
"""Sums of functions of y = sigmoid(logits): the keys of `MOMENTS`, and "cross_entropy", the sum of
-log y where the code lies in the class, of -log(1 - y) where they are disjoint, and 0 where the
code leaves the class open. The table is the membership, int8 `[C, R]`.
"""
