"""Keeps bfloat16 convolutions on CPUs away from a kernel of oneDNN that gives wrong gradients.

A 3D convolution with padding whose kernel is longer than its input along the first axis, such as
3x3x3 on two planes, gets a gradient of its weights out of uninitialised memory (PyTorch 2.13, CPUs
with AVX-512 BF16): NaN, or any other number. Deep levels of a U-Net are that small: 32 voxels
halved four times. Such convolutions take no time, so they are computed in float32.
"""

from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode


def exact_convolutions(device: torch.device) -> AbstractContextManager[object]:
    """Return a context in which the forward pass of a training leads to right gradients."""
    if device.type == "cpu" and torch.is_autocast_enabled("cpu"):
        return _Float32WhereShort()
    return nullcontext()


class _Float32WhereShort(TorchFunctionMode):
    """Computes `conv3d` in float32 if the kernel is longer than the input along the first axis."""

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Iterable[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        kwargs = kwargs or {}
        if func is torch.conv3d and len(args) > 1 and args[0].shape[2] < args[1].shape[2]:
            args = tuple(arg.float() if isinstance(arg, Tensor) else arg for arg in args)
            with torch.autocast("cpu", enabled=False):
                return func(*args, **kwargs)
        return func(*args, **kwargs)
