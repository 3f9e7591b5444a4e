"""What other libraries have for themselves alone and neoseg uses, each with the reason.

A test for each tells when a library no longer has it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


def empty_shared(size: int) -> Tensor:
    """Return an uninitialised uint8 tensor `[size]` in shared memory.

    `Tensor.share_memory_` makes it elsewhere and copies, which costs a loader process a fifth to
    a half of the time in which a batch is packed. `torch.utils.data.default_collate` calls the same
    method, since torch 1.12.
    """
    import torch

    memory = torch.UntypedStorage._new_shared(size)
    return torch.empty(0, dtype=torch.uint8).set_(memory)
