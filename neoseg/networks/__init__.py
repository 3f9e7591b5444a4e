"""Networks from configuration, and the heads that turn their channels into classes and leaves."""

from neoseg.networks.build import NetworkError, build_network, check_network
from neoseg.networks.heads import DECODINGS, HEADS, Head, MultiLabelHead, SoftmaxHead, make_head

__all__ = [
    "DECODINGS",
    "HEADS",
    "Head",
    "MultiLabelHead",
    "NetworkError",
    "SoftmaxHead",
    "build_network",
    "check_network",
    "make_head",
]
