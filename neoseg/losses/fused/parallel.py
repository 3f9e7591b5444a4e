"""Sums over all ranks, so that the loss of a distributed batch is that of the whole batch."""

from collections.abc import Callable
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from neoseg.losses.fused.slabs import differentiable_once


def world_size() -> int:
    """Return the number of processes that train together, 1 outside distributed training."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def from_all_ranks(value: Tensor) -> Tensor:
    """Concatenate `[B, ...]` of all ranks along the items, in rank order.

    All ranks must call this together, with the same shape. The gradient of each rank's items is
    summed over all ranks; DistributedDataParallel then averages over ranks, which yields the
    gradient of a single process with the whole batch.
    """
    return value if world_size() == 1 else _gather(value)


def largest_of_all_ranks(value: Tensor) -> Tensor:
    """Return the elementwise maximum of a tensor over all ranks, which must call this together.

    Lightning's `reduce` would block the host until all work queued on the GPU is done.
    """
    if world_size() == 1:
        return value
    largest = value.clone()
    dist.all_reduce(largest, dist.ReduceOp.MAX)
    return largest


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, value: Tensor) -> Tensor:
        parts = [torch.empty_like(value) for _ in range(world_size())]
        dist.all_gather(parts, value.contiguous())
        ctx.items = len(value)
        return torch.cat(parts)

    @staticmethod
    @differentiable_once
    def backward(ctx: Any, slope: Tensor) -> Tensor:
        gradient = slope.contiguous().clone()
        dist.all_reduce(gradient)
        start = dist.get_rank() * ctx.items
        return gradient[start : start + ctx.items]


_gather: Callable[[Tensor], Tensor] = _Gather.apply
