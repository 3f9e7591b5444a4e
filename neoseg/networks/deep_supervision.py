"""Deep supervision: the list of logits that a network returns in training."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from monai.networks.nets.dynunet import DynUNet


class HeadList(nn.Module):
    """Wrap MONAI's `DynUNet`, which stacks its heads as `[B, heads, N, *S]` in training.

    In training the result is a list of `[B, N, *S]`, highest resolution first, with coarser heads
    upsampled to the size of the image (nearest neighbour). In evaluation it is the tensor of the
    highest resolution.
    """

    def __init__(self, network: DynUNet) -> None:
        super().__init__()
        self.network = network

    def forward(self, image: Tensor) -> Tensor | list[Tensor]:
        """Return logits for `[B, M, *S]`."""
        logits = self.network(image)
        # DynUNet keeps its last heads, and with them the graph, which holds memory until the next
        # step and makes copying the network (a teacher, a checkpoint of the module) fail.
        self.network.heads[:] = [torch.empty(0)] * len(self.network.heads)
        return list(logits.unbind(dim=1)) if self.training else logits


def with_head_list(network: nn.Module) -> nn.Module:
    """Return the network, wrapped in `HeadList` if it is a `DynUNet` with deep supervision."""
    monai = sys.modules.get("monai.networks.nets")  # not imported: cannot be a DynUNet
    if monai and isinstance(network, monai.DynUNet) and network.deep_supervision:
        return HeadList(network)
    return network
