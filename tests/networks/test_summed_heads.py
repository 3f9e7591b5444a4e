"""The sum of the levels' heads, against its parts."""

from __future__ import annotations

import pytest
import torch
from monai.networks.nets import DynUNet
from torch.nn.functional import interpolate

from neoseg.networks.summed_heads import SummedHeads

SETTINGS = {
    "spatial_dims": 3,
    "in_channels": 2,
    "out_channels": 7,
    "kernel_size": [3, 3, 3, 3],
    "strides": [1, 2, [2, 2, 1], 2],
    "upsample_kernel_size": [2, [2, 2, 1], 2],
    "filters": [4, 6, 8, 10],
    "norm_name": ["INSTANCE", {"affine": True}],
    "act_name": ["leakyrelu", {"negative_slope": 0.01}],
}
IMAGE = torch.randn(2, 2, 16, 16, 8, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def network() -> SummedHeads:
    torch.manual_seed(0)
    return SummedHeads(summed=3, **SETTINGS)


def test_a_single_head_is_a_dynunet(network) -> None:
    plain = DynUNet(**SETTINGS)
    plain.load_state_dict(network.state_dict(), strict=False)
    expected = plain(IMAGE)
    assert not torch.equal(network(IMAGE), expected)
    for head in network.coarse_heads:
        torch.nn.init.zeros_(head.weight)
        torch.nn.init.zeros_(head.bias)
    torch.testing.assert_close(network(IMAGE), expected)
    one = SummedHeads(summed=1, **SETTINGS)
    one.load_state_dict(network.state_dict(), strict=False)
    torch.testing.assert_close(one(IMAGE), expected)


def test_logits_are_the_sum_of_what_each_level_says(network) -> None:
    said = []
    for head in (network.output_block, *network.coarse_heads):
        head.register_forward_hook(lambda *call: said.append(call[2]))
    found = network(IMAGE)
    coarse, middle, fine = said
    assert [tuple(level.shape[2:]) for level in said] == [(4, 4, 4), (8, 8, 4), (16, 16, 8)]
    whole = [interpolate(level, fine.shape[2:]) for level in (coarse, middle)]
    torch.testing.assert_close(found, fine + sum(whole))


def test_every_weight_learns_and_has_one_name(network) -> None:
    network(IMAGE).square().mean().backward()
    assert all(value.grad is not None and value.grad.any() for value in network.parameters())
    assert len(network.state_dict()) == len(list(network.parameters()))


@pytest.mark.parametrize(
    ("wrong", "said"), [({"summed": 4}, "1 to 3"), ({"deep_supervision": True}, "leave deep")]
)
def test_what_cannot_be_summed(wrong: dict, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        SummedHeads(**{**SETTINGS, **wrong})
