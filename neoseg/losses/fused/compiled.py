"""Compile functions of one slab for accelerators, with an uncompiled fallback."""

import functools
import logging
from collections.abc import Callable
from typing import ParamSpec, TypeVar

import torch
from torch import Tensor

log = logging.getLogger(__name__)

P = ParamSpec("P")
R = TypeVar("R")

_broken: set[str] = set()
"""Device types on which compilation failed; it is not tried there again."""


def compiled(function: Callable[P, R]) -> Callable[P, R]:
    """Compile `function` for tensors on an accelerator, so that a slab is read once.

    Compilation is deferred to the first such call, as torch.compile takes seconds to import. If it
    fails (no Triton, no C compiler), the function runs uncompiled, with the same values, after one
    warning in the log.
    """

    @functools.cache
    def fast() -> Callable[P, R]:
        return torch.compile(function, fullgraph=True, dynamic=True)

    @functools.wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        slab = args[0]
        assert isinstance(slab, Tensor)
        device_type = slab.device.type
        if not compiles_on(device_type) or device_type in _broken:
            return function(*args, **kwargs)
        try:
            return fast()(*args, **kwargs)
        except torch.OutOfMemoryError:
            raise
        except Exception as error:  # a compiler may raise anything
            _broken.add(device_type)
            log.warning(
                "torch.compile failed on %s (%s: %s); the losses run uncompiled, with the same "
                "values, several times slower",
                device_type,
                type(error).__name__,
                str(error).partition("\n")[0],
            )
            return function(*args, **kwargs)

    return call


def compiles_on(device_type: str) -> bool:
    """Return whether slab functions are compiled on a device type; CPUs have the C kernels."""
    return device_type == "cuda"
