"""Compilation and memory format of networks; what they compute does not change."""

from typing import Literal

import torch
from torch import nn

Compiling = bool | Literal["reduce-overhead", "max-autotune"]
"""Type of the key `compile`: whether to compile networks, or the torch.compile mode to use."""


def compile_network(network: nn.Module, how: Compiling) -> None:
    """Compile a network in place; compilation happens at its next call."""
    network.compile(mode=how if isinstance(how, str) else None)


def begin_step(how: Compiling) -> None:
    """Mark a new step for CUDA graphs, which may then reuse the memory of the previous one.

    Otherwise they infer steps from calls of a network; a teacher is called several times a step.
    """
    if isinstance(how, str):
        torch.compiler.cudagraph_mark_step_begin()


def put_channels_last(module: nn.Module) -> None:
    """Store the weights of 2D and 3D convolutions in channels-last memory format, in place."""
    formats = {4: torch.channels_last, 5: torch.channels_last_3d}
    for weight in module.parameters():
        if weight.dim() in formats:
            weight.data = weight.data.contiguous(memory_format=formats[weight.dim()])
