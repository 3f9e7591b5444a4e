"""What neoseg borrows of other libraries' insides is still there and does what it did."""

from __future__ import annotations

import torch

from neoseg import borrowed


def test_empty_shared() -> None:
    block = borrowed.empty_shared(1000)
    assert block.is_shared()
    assert (block.dtype, block.shape) == (torch.uint8, (1000,))
    assert block.fill_(7).sum() == 7000
