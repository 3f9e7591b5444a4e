"""To an accelerator and back without waiting for it.

A GPU works through a queue, behind the program that fills it. A value that is asked for, and a copy
that is not told otherwise, let the program wait until the queue is empty; then the GPU waits for
the program.
"""

from __future__ import annotations

from functools import cache

import torch
from torch import Tensor


def sent(tensor: Tensor, device: torch.device) -> Tensor:
    """Return a tensor of the CPU on a device; the program goes on while it is copied."""
    return tensor.to(device, non_blocking=device.type == "cuda")


def sent_beside(tensor: Tensor, device: torch.device) -> Tensor:
    """Return a tensor of pinned memory on a device, copied while that computes what came before."""
    if device.type != "cuda":
        return tensor.to(device)
    work, copies = torch.cuda.current_stream(device), _copies(device)
    with torch.cuda.stream(copies):
        there = tensor.to(device, non_blocking=True)
    work.wait_stream(copies)
    there.record_stream(work)  # its memory is free when the work is done, not the copy
    return there


@cache
def _copies(device: torch.device) -> torch.cuda.Stream:
    return torch.cuda.Stream(device)


class Answer:
    """A small tensor on its way back from a device.

    Who asks for it waits for what was queued before it alone: with enough queued behind it, the
    device has work meanwhile.
    """

    def __init__(self, tensor: Tensor) -> None:
        self._tensor, self._there = tensor, None
        if tensor.device.type == "cuda":
            self._tensor = tensor.to("cpu", non_blocking=True)
            self._there = torch.cuda.Event()
            self._there.record()

    def get(self) -> Tensor:
        """Return the tensor, on the CPU where it comes from a GPU."""
        if self._there is not None:
            self._there.synchronize()
        return self._tensor
