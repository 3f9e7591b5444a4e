"""Slabs of voxels, and sums over the voxels of each code."""

from collections.abc import Callable, Iterator, Mapping
from functools import wraps
from typing import Any

import numpy as np
import torch
from torch import Tensor

_SLAB_VALUES = {"cpu": 2**18}
"""Values in a slab by device type: on a CPU about its second-level cache (1 MiB of float32)."""

_SLAB_VALUES_ELSEWHERE = 2**23
"""Values in a slab on other devices."""

LARGEST = 1e30
"""Bound to which cross-entropies and logits are clamped, so that their sums stay in float32."""

MOMENTS: Mapping[str, tuple[Callable[[Tensor], Tensor], Callable[[Tensor, Tensor], Tensor]]] = {
    "probability": (lambda p: p, lambda p, slope: slope),
    "squared": (torch.square, lambda p, slope: 2 * p * slope),
    "log1p": (torch.log1p, lambda p, slope: slope / (1 + p)),
}
"""Functions f(p) of a probability that are summed, each with its chain rule (p, dL/df) -> dL/dp."""


def slabs(logits: Tensor) -> Iterator[tuple[int, slice]]:
    """Yield (item, voxels) of small pieces that together cover `[B, N, V]`."""
    batch, channels, voxels = logits.shape
    values = _SLAB_VALUES.get(logits.device.type, _SLAB_VALUES_ELSEWHERE)
    length = max(values // channels // 64 * 64, 256)
    for item in range(batch):
        for start in range(0, voxels, length):
            yield item, slice(start, min(start + length, voxels))


def working_type(logits: Tensor) -> torch.dtype:
    """Return the type of the arithmetic: float64 for float64, float32 for everything else."""
    return torch.float64 if logits.dtype == torch.float64 else torch.float32


def total_type(device: torch.device) -> torch.dtype:
    """Return the type of sums over many slabs: float64, except on MPS, which lacks it."""
    return torch.float32 if device.type == "mps" else torch.float64


def differentiable_once(backward: Callable[..., Any]) -> Callable[..., Any]:
    """Compute a gradient without a graph, and raise `RuntimeError` if it is differentiated.

    PyTorch's `once_differentiable` silently treats the gradient as a constant if the incoming
    gradient is one.
    """

    @wraps(backward)
    def wrapper(ctx: Any, *slopes: Tensor) -> Any:
        with torch.no_grad():
            gradients = backward(ctx, *slopes)
        if not torch.is_grad_enabled():  # without create_graph, as in any training
            return gradients
        as_tuple = gradients if isinstance(gradients, tuple) else (gradients,)
        return tuple(
            None if value is None else _refuse(value.detach().requires_grad_())
            for value in as_tuple
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
    """Return a contiguous, uninitialised tensor for the gradient of `logits`.

    On Linux NumPy requests huge pages; allocating the gradient of 88 classes in small pages takes
    as long as computing it.
    """
    if logits.device.type != "cpu":
        return torch.empty(logits.shape, dtype=logits.dtype, device=logits.device)
    memory = np.empty(logits.numel() * logits.element_size(), dtype=np.uint8)
    return torch.from_numpy(memory).view(logits.dtype).view(logits.shape)


def sum_by_code(values: Tensor, codes: Tensor, num_codes: int) -> Tensor:
    """Sum the columns of `values` `[X, n]` with the same code, int64 `[n]`, giving `[X, R]`."""
    if values.device.type == "cpu":
        total = values.new_zeros(values.shape[0], num_codes)
        return total.index_add_(1, codes, values)
    # On other devices many threads would contend for few sums, in an order that varies.
    all_codes = torch.arange(num_codes, device=codes.device)
    return values @ (codes.unsqueeze(1) == all_codes).to(values)
