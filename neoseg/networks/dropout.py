"""Dropout layers of a network."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn

from neoseg.networks.build import NetworkError, build_network

_LAYERS = (
    *(nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d),
    *(nn.AlphaDropout, nn.FeatureAlphaDropout),
)


def dropouts(network: nn.Module) -> list[nn.Module]:
    """Return the dropout layers with a positive probability."""
    return [layer for layer in network.modules() if isinstance(layer, _LAYERS) and layer.p > 0]


def require_dropout(
    config: Mapping[str, Any], patch_size: Sequence[int], allow: Sequence[str], why: str
) -> None:
    """Raise `NetworkError` if a network has no active dropout; its weights are not allocated.

    Args:
        config, patch_size, allow: as for `build_network`.
        why: why dropout is needed, as the beginning of the message.
    """
    with torch.device("meta"):
        network = build_network(config, 1, 2, patch_size, allow)
    if not dropouts(network):
        raise NetworkError(
            f"{why}, and network '{config['name']}' has no dropout, so that all passes would be "
            "alike but for the noise on the image; set network.net.dropout=0.1 (dropout_prob for "
            "segresnet, +network.net.drop_rate for swinunetr), choose another network, or set "
            "teacher.passes=0, which asks the teacher's own probabilities"
        )
