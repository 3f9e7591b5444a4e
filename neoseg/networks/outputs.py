"""Validate the output of a network, including networks of other packages."""

from collections.abc import Callable
from typing import Any

from torch import Tensor

from neoseg.networks.build import NetworkError


def heads_of(
    network: Callable[..., Any], output: Any, image: Tensor, channels: int | None = None
) -> list[Tensor]:
    """Return the logits of a network as a list, highest resolution first.

    Args:
        network: named in error messages.
        output: of the network: logits, or in training a list or tuple of logits, each upsampled to
            the size of the image.
        image: input of the network, `[B, M, *S]`.
        channels: N, the number of channels that the network was built for; None accepts any.

    Raises:
        NetworkError: the output is anything else.
    """
    heads = list(output) if isinstance(output, list | tuple) else [output]
    for head in heads:
        same_dims = isinstance(head, Tensor) and head.dim() == image.dim()
        if not same_dims or (len(head), *head.shape[2:]) != (len(image), *image.shape[2:]):
            shape = f"of shape {list(head.shape)}" if isinstance(head, Tensor) else ""
            layout = ", ".join(map(str, [len(image), "N", *image.shape[2:]]))
            raise NetworkError(
                f"{type(network).__name__} gives a {type(head).__name__} {shape}".rstrip()
                + f" for an image of shape {list(image.shape)}, expected logits [{layout}] of its "
                "size, or in training a list of them, highest resolution first"
            )
        if channels not in (None, head.shape[1]):
            raise NetworkError(
                f"{type(network).__name__} gives {head.shape[1]} channels, and was built with "
                f"out_channels={channels}"
            )
    if not heads:
        raise NetworkError(f"{type(network).__name__} gives an empty list, expected logits")
    return heads
