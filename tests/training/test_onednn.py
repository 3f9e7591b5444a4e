"""Gradients of bfloat16 convolutions on few planes, beside those in float32."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from neoseg.training.onednn import exact_convolutions

CPU = torch.device("cpu")


@pytest.mark.parametrize("size", [(2, 2, 2), (2, 4, 4), (1, 3, 3), (3, 3, 3), (4, 2, 2)])
@pytest.mark.parametrize("kernel", [(3, 3, 3), (3, 1, 1), (5, 3, 3)])
def test_gradients_of_short_convolutions(
    size: tuple[int, int, int], kernel: tuple[int, int, int]
) -> None:
    torch.manual_seed(0)
    for _ in range(4):  # what is wrong comes out of uninitialised memory
        layer = nn.Conv3d(16, 16, kernel, padding=tuple(n // 2 for n in kernel))
        image = torch.randn(2, 16, *size)
        spoiled = [torch.full((n,), torch.nan) for n in (4096, 6912, 16 * 16 * 45)]
        del spoiled
        with torch.autocast("cpu", dtype=torch.bfloat16), exact_convolutions(CPU):
            output = layer(image)
        slope = torch.randn(output.shape).bfloat16().float()
        output.float().backward(slope)
        assert layer.weight.grad is not None
        found = layer.weight.grad.clone()
        layer.weight.grad = None
        layer(image).backward(slope)
        torch.testing.assert_close(found, layer.weight.grad, rtol=0.05, atol=0.15)


def test_other_convolutions_stay_in_bfloat16() -> None:
    layer = nn.Conv3d(4, 4, 3, padding=1)
    with torch.autocast("cpu", dtype=torch.bfloat16), exact_convolutions(CPU):
        assert layer(torch.randn(1, 4, 4, 2, 2)).dtype == torch.bfloat16
        assert layer(torch.randn(1, 4, 2, 4, 4)).dtype == torch.float32
    with exact_convolutions(CPU):
        assert layer(torch.randn(1, 4, 2, 4, 4)).dtype == torch.float32
