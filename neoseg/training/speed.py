"""How networks lie in memory and are compiled; what they compute stays the same."""

from __future__ import annotations

from typing import Literal

import torch
from torch import nn

Compiling = bool | Literal["reduce-overhead", "max-autotune"]
"""The key `compile`: whether networks are compiled, or in which mode of torch.compile."""


def compile_network(network: nn.Module, how: Compiling) -> None:
    """Compile a network in place, at its next call."""
    network.compile(mode=how if isinstance(how, str) else None)


def begin_step(how: Compiling) -> None:
    """Tell CUDA graphs that a step begins: they may use the memory of the one before again.

    Else they go by the calls of a network, of which a teacher's passes are several a step.
    """
    if isinstance(how, str):
        torch.compiler.cudagraph_mark_step_begin()


def put_channels_last(module: nn.Module) -> None:
    """Rearrange the weights of 2D and 3D convolutions in memory; their values stay."""
    formats = {4: torch.channels_last, 5: torch.channels_last_3d}
    for weight in module.parameters():
        if weight.dim() in formats:
            weight.data = weight.data.contiguous(memory_format=formats[weight.dim()])
