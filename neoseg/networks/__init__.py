"""Networks built from configuration, and heads that map their channels to classes and leaves."""

from neoseg.networks.build import (
    NetworkError,
    build_network,
    check_network,
    divisors_of,
    weighing,
)
from neoseg.networks.heads import Head, MultiLabelHead, make_head

__all__ = [
    "Head",
    "MultiLabelHead",
    "NetworkError",
    "build_network",
    "check_network",
    "divisors_of",
    "make_head",
    "weighing",
]
