"""The passes over the logits of a multi-label head."""

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor

from neoseg.losses.fused.compiled import compiled
from neoseg.losses.fused.kernels import NATIVE_SIGMOID
from neoseg.losses.fused.passes import Passes
from neoseg.losses.fused.slabs import LARGEST, MOMENTS, sum_by_code, working_type


@compiled
def _sums_of_slab(
    slab: Tensor, code: Tensor, membership: Tensor, wanted: tuple[str, ...]
) -> tuple[list[Tensor], tuple[Tensor, ...]]:
    """Return the sums `[C, R]` of logits `[C, n]`, and no saved values."""
    z = slab.to(working_type(slab))
    sums = []
    for name in wanted:
        if name in MOMENTS:
            values = MOMENTS[name][0](z.sigmoid())
        else:
            voxel_membership = membership.index_select(1, code)
            # -log y = -logsigmoid(z) and -log(1 - y) = -logsigmoid(-z).
            entropy = -F.logsigmoid(torch.where(voxel_membership == 1, z, -z)).clamp(min=-LARGEST)
            values = torch.where(voxel_membership >= 0, entropy, 0.0)
        sums.append(sum_by_code(values, code, membership.shape[1]))
    return sums, ()


@compiled
def _gradient_of_slab(
    slab: Tensor, code: Tensor, membership: Tensor, slope: Mapping[str, Tensor]
) -> Tensor:
    """Return the gradient of logits `[C, n]`, in their working type."""
    y = slab.to(working_type(slab)).sigmoid()
    gradient = torch.zeros_like(y)
    for name in slope:
        if name in MOMENTS:
            change = MOMENTS[name][1](y, slope[name].index_select(1, code))
            gradient = gradient + change * (y - y.square())
        else:
            # The derivative of the cross-entropy with respect to the logit is y - x.
            voxel_membership = membership.index_select(1, code)
            change = slope[name].index_select(1, code) * (y - (voxel_membership == 1).to(y))
            gradient = gradient + torch.where(voxel_membership >= 0, change, 0.0)
    return gradient


SIGMOID_PASSES = Passes(NATIVE_SIGMOID, _sums_of_slab, _gradient_of_slab)
"""Sums of functions of y = sigmoid(logits): the keys of `MOMENTS`, and "cross_entropy", the sum of
-log y where the code is inside the class, -log(1 - y) where they are disjoint, and 0 where the code
leaves the class open. The table is the membership, int8 `[C, R]`.
"""
