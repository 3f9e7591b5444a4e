"""Finds without a GPU where a program would wait for one.

Tensors on the device "meta" have no values. What asks for one raises there: `item`, `tolist`, an
if, a boolean index, `nonzero`, `unique`, `bincount`, a copy to the CPU. Copies from the CPU to it,
which wait for a GPU too, are found here.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from torch.overrides import TorchFunctionMode

META = torch.device("meta")
ALLOWED = Path("neoseg", "accelerator.py")
"""Has the copies that do not wait."""


class _Copies(TorchFunctionMode):
    def __torch_function__(
        self, function: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        kwargs = dict(kwargs or {})
        kwargs.pop("generator", None)  # there is none for this device
        given = [v.device for v in args if isinstance(v, torch.Tensor)]
        result = function(*args, **kwargs)
        name = getattr(function, "__name__", "")
        moves = name in {"to", "as_tensor", "asarray", "copy_"} and torch.device("cpu") in given
        if moves or name == "new_tensor" or (name in {"tensor", "as_tensor"} and not given):
            caller = Path(sys._getframe(1).f_code.co_filename)
            here = isinstance(result, torch.Tensor) and result.device == META
            assert not here or caller.parts[-2:] == ALLOWED.parts, f"{name} in {caller} waits"
        return result


class _Generator(torch.Generator):
    def __new__(cls, device: Any = None) -> _Generator:
        return super().__new__(cls, "cpu")


@contextmanager
def on_an_accelerator() -> Iterator[torch.device]:
    """Let each wait within raise; the device stands for an accelerator."""
    with (
        patch("torch.autocast", lambda *_, **__: nullcontext()),
        patch("torch.Generator", _Generator),
        _Copies(),
    ):
        yield META
