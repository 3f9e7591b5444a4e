"""Detect networks whose last layers grow with the square of the number of classes."""

import math

from torch import nn

MAX_CLASSES = 32
"""Number of classes above which a convolution from all to all of them dominates a training step."""


def wide_end(network: nn.Module, classes: int) -> str | None:
    """Return a warning if a network convolves all classes with all at every voxel, else None."""
    for layer in network.modules():
        if not isinstance(layer, nn.Conv3d) or math.prod(layer.kernel_size) == 1:
            continue
        if layer.in_channels == layer.out_channels == classes > MAX_CLASSES:
            size = "x".join(map(str, layer.kernel_size))
            return (
                f"the network ends in a {size} convolution from {classes} to {classes} channels at "
                "every voxel, which takes most of a step; network=summed_heads is for many "
                "structures"
            )
    return None
