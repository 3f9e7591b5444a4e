"""Copy tensors to an accelerator and back without synchronizing.

A GPU works through a queue that the program fills. Reading a value, or a copy that is not
`non_blocking`, makes the program wait until the queue is empty; then the GPU idles until the
program has refilled it.
"""

from functools import cache

import torch
from torch import Tensor


def sent(tensor: Tensor, device: torch.device) -> Tensor:
    """Return a CPU tensor on a device; on CUDA the copy is asynchronous."""
    return tensor.to(device, non_blocking=device.type == "cuda")


def sent_beside(tensor: Tensor, device: torch.device) -> Tensor:
    """Return a pinned CPU tensor on a device; on CUDA the copy overlaps with queued computation."""
    if device.type != "cuda":
        return tensor.to(device)
    compute, copying = torch.cuda.current_stream(device), _copy_stream(device)
    with torch.cuda.stream(copying):
        on_device = tensor.to(device, non_blocking=True)
    compute.wait_stream(copying)
    # Its memory may be reused only after the computation has used it, not after the copy.
    on_device.record_stream(compute)
    return on_device


@cache
def _copy_stream(device: torch.device) -> torch.cuda.Stream:
    return torch.cuda.Stream(device)


class Answer:
    """A small tensor on its way back from a device.

    `get` waits only for work queued before the copy: with enough work queued after it, the device
    stays busy meanwhile.
    """

    def __init__(self, tensor: Tensor) -> None:
        self._tensor, self._copied = tensor, None
        if tensor.device.type == "cuda":
            self._tensor = tensor.to("cpu", non_blocking=True)
            self._copied = torch.cuda.Event()
            self._copied.record()

    def get(self) -> Tensor:
        """Return the tensor, on the CPU if it comes from a GPU."""
        if self._copied is not None:
            self._copied.synchronize()
        return self._tensor
