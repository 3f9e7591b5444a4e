from __future__ import annotations

import pytest
import torch
from torch import nn

from neoseg.networks.slicewise import SliceWise


def convolution(in_channels: int, out_channels: int) -> nn.Module:
    return nn.Conv2d(in_channels, out_channels, 3, padding=1)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_slices_of_any_plane_equal_the_flat_network(axis):
    torch.manual_seed(0)
    network = SliceWise(convolution, in_channels=2, out_channels=3)
    flat = torch.randn(4, 2, 5, 6)
    logits = network(flat.unsqueeze(2 + axis))
    assert logits.shape[2 + axis] == 1
    assert torch.equal(logits.squeeze(2 + axis), network.network(flat))


@pytest.mark.parametrize("shape", [(2, 2, 4, 4, 4), (2, 2, 1, 1, 4), (2, 2, 4, 4)])
def test_other_shapes_are_refused(shape):
    network = SliceWise(convolution, in_channels=2, out_channels=3)
    with pytest.raises(ValueError, match="exactly one") as caught:
        network(torch.zeros(shape))
    assert str(list(shape)) in str(caught.value)


def test_a_batch_and_modality_of_one_are_not_slices():
    network = SliceWise(convolution, in_channels=1, out_channels=3)
    assert network(torch.zeros(1, 1, 6, 1, 5)).shape == (1, 3, 6, 1, 5)
    with pytest.raises(ValueError, match="exactly one"):
        network(torch.zeros(1, 1, 6, 2, 5))


def test_a_finished_network_is_refused():
    with pytest.raises(ValueError, match="_partial_"):
        SliceWise(nn.Conv2d(1, 3, 3), in_channels=1, out_channels=3)
