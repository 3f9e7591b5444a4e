"""Slabs of voxels, and sums over the voxels of each code."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import wraps
from typing import Any

import numpy as np
import torch
from torch import Tensor

_SLAB_VALUES = {"cpu": 2**18}
"""Values of a slab: on a CPU about what its second-level cache holds (1 MiB of float32)."""
_SLAB_VALUES_ELSEWHERE = 2**23

LARGEST = 1e30
"""Largest cross-entropy and logit that count: sums of more would leave float32."""

MOMENTS: Mapping[str, tuple[Callable[[Tensor], Tensor], Callable[[Tensor, Tensor], Tensor]]] = {
    "probability": (lambda p: p, lambda p, slope: slope),
    "squared": (torch.square, lambda p, slope: 2 * p * slope),
    "log1p": (torch.log1p, lambda p, slope: slope / (1 + p)),
}
"""Functions of a probability p that are summed, and the chain rule of each: (p, dL/df) -> dL/dp."""


def slabs(logits: Tensor) -> Iterator[tuple[int, slice]]:
    """Yield (item, voxels) so that all of `[B, N, V]` is covered in small pieces."""
    batch, channels, voxels = logits.shape
    values = _SLAB_VALUES.get(logits.device.type, _SLAB_VALUES_ELSEWHERE)
    length = max(values // channels // 64 * 64, 256)
    for item in range(batch):
        for start in range(0, voxels, length):
            yield item, slice(start, min(start + length, voxels))


def working_type(logits: Tensor) -> torch.dtype:
    """Float64 stays, everything else is computed in float32."""
    return torch.float64 if logits.dtype == torch.float64 else torch.float32


def total_type(device: torch.device) -> torch.dtype:
    """Number type of sums over many slabs."""
    return torch.float32 if device.type == "mps" else torch.float64


def differentiable_once(backward: Callable[..., Any]) -> Callable[..., Any]:
    """Compute a gradient without a graph, and tell whoever differentiates it.

    PyTorch's decorator of this kind takes it for a constant where the slope is one.
    """

    @wraps(backward)
    def wrapper(ctx: Any, *slopes: Tensor) -> Any:
        with torch.no_grad():
            found = backward(ctx, *slopes)
        if not torch.is_grad_enabled():  # without create_graph, as in any training
            return found
        each = found if isinstance(found, tuple) else (found,)
        return tuple(
            None if value is None else _refuse(value.detach().requires_grad_()) for value in each
        )

    return wrapper


class _Refuse(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, gradient: Tensor) -> Tensor:
        return gradient.view_as(gradient)

    @staticmethod
    def backward(ctx: Any, *slopes: Tensor) -> Tensor:
        raise RuntimeError(
            "the gradient of this loss is computed without a graph and cannot be differentiated "
            "again (create_graph=True); take a gradient penalty from another loss"
        )


_refuse: Callable[[Tensor], Tensor] = _Refuse.apply


def empty_gradient(logits: Tensor) -> Tensor:
    """Return uninitialised memory for a gradient, contiguous.

    On Linux NumPy asks the system for large pages; getting a gradient of 88 classes in small ones
    takes as long as computing it.
    """
    if logits.device.type != "cpu":
        return torch.empty(logits.shape, dtype=logits.dtype, device=logits.device)
    memory = np.empty(logits.numel() * logits.element_size(), dtype=np.uint8)
    return torch.from_numpy(memory).view(logits.dtype).view(logits.shape)


def sum_by_code(values: Tensor, codes: Tensor, num_codes: int) -> Tensor:
    """Sum the columns of `[X, n]` that have the same code, int64 `[n]`: `[X, R]`."""
    if values.device.type == "cpu":
        total = values.new_zeros(values.shape[0], num_codes)
        return total.index_add_(1, codes, values)
    # Elsewhere many threads would wait for the same few sums, in an order that changes.
    each = torch.arange(num_codes, device=codes.device)
    return values @ (codes.unsqueeze(1) == each).to(values)
