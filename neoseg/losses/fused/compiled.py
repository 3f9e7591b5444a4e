"""Compiles a function of one slab for accelerators, and does without where that fails."""

from __future__ import annotations

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
"""Devices on which compiling failed; they are not tried again."""


def compiled(function: Callable[P, R]) -> Callable[P, R]:
    """Compile `function` for tensors on an accelerator, so that a slab is read once.

    That happens at the first such call; torch.compile takes seconds to import. Where it cannot
    (no Triton, no C compiler), the function runs as it is, with the same values, after one note
    in the log.
    """

    @functools.cache
    def fast() -> Callable[P, R]:
        return torch.compile(function, fullgraph=True, dynamic=True)

    @functools.wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        first = args[0]
        assert isinstance(first, Tensor)
        kind = first.device.type
        if not compiles_on(kind) or kind in _broken:
            return function(*args, **kwargs)
        try:
            return fast()(*args, **kwargs)
        except torch.OutOfMemoryError:
            raise
        except Exception as error:  # whatever a compiler may raise
            _broken.add(kind)
            log.warning(
                "torch.compile failed on %s (%s: %s); the losses run uncompiled, with the same "
                "values, several times slower",
                kind,
                type(error).__name__,
                str(error).partition("\n")[0],
            )
            return function(*args, **kwargs)

    return call


def compiles_on(device_type: str) -> bool:
    """Whether functions of a slab are compiled there; CPUs have the kernels in C."""
    return device_type == "cuda"
