"""Channels last: the same numbers as in the usual order, and nothing left behind."""

from __future__ import annotations

from unittest import mock

import pytest
import torch
from monai.networks.nets import DynUNet, SegResNet, UNet
from torch import Tensor, nn
from torch.nn.functional import group_norm

from neoseg.inference import channels_last as module
from neoseg.inference.channels_last import channels_last, normalise
from neoseg.networks.resenc import ResEncUNet

CPU = torch.device("cpu")

pytestmark = pytest.mark.skipif(
    not torch.backends.mkldnn.is_available(), reason="this CPU's convolutions have no such order"
)


def dyn_unet(norm: object) -> nn.Module:
    return DynUNet(3, 2, 5, [3] * 3, [1, 2, 2], [2, 2], filters=[4, 6, 8], norm_name=norm)


NETWORKS = {
    "instance": lambda: dyn_unet(("INSTANCE", {"affine": True})),
    "instance without weights": lambda: dyn_unet("INSTANCE"),
    "group": lambda: dyn_unet(("GROUP", {"num_groups": 2})),
    "batch": lambda: dyn_unet("BATCH"),
    "residual encoder": lambda: ResEncUNet(2, 5, [4, 6, 6], [1, 2, 1]),
    "segresnet": lambda: SegResNet(spatial_dims=3, in_channels=2, out_channels=5, init_filters=8),
    "residual": lambda: UNet(
        spatial_dims=3,
        in_channels=2,
        out_channels=5,
        channels=(4, 8),
        strides=(2,),
        num_res_units=2,
    ),
    "kinds of convolution": lambda: nn.Sequential(
        nn.Conv3d(2, 4, 3, padding="same"),
        nn.Conv3d(4, 4, (3, 1, 3), padding=(1, 0, 1), bias=False, groups=2),
        nn.Conv3d(4, 4, 3, padding=2, dilation=2),
        nn.Conv3d(4, 4, 3, padding=1, padding_mode="reflect"),
        nn.InstanceNorm3d(4, track_running_stats=True),
        nn.Conv3d(4, 6, 2, stride=2),
        nn.MaxPool3d(2),
        nn.Upsample(scale_factor=4, mode="trilinear"),
        nn.Conv3d(6, 5, 1),
    ),
}


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("batch", [1, 2])
@torch.no_grad()
def test_networks_give_the_same(name, batch) -> None:
    torch.manual_seed(0)
    network = NETWORKS[name]().eval()
    image = torch.randn(batch, 2, 16, 8, 24)
    image[:, :, :5] = 3.0  # as around a head
    expected = network(image)
    with channels_last(network, CPU) as order:
        assert order == torch.channels_last_3d
        found = network(image.contiguous(memory_format=order))
    torch.testing.assert_close(found, expected, atol=2e-4, rtol=1e-4)
    assert torch.equal(network(image), expected)
    assert all("forward" not in part.__dict__ for part in network.modules())


def test_one_channel_is_put_in_order_too() -> None:
    """A single channel has both orders; what follows must not fall back to the usual one."""
    network = nn.Sequential(nn.Conv3d(1, 4, 3), nn.InstanceNorm3d(4), nn.ReLU(), nn.Conv3d(4, 4, 3))
    with channels_last(network, CPU) as order, torch.no_grad():
        found = network(torch.randn(1, 1, 9, 9, 9).contiguous(memory_format=order))
    assert found.stride(1) == 1


@pytest.mark.parametrize(
    "network",
    [
        nn.Sequential(nn.Conv3d(1, 4, 1), nn.LayerNorm(4)),
        nn.Sequential(nn.Conv2d(1, 4, 1)),
        nn.Sequential(nn.ReLU()),
        lambda x: x,
    ],
)
def test_other_networks_are_left_alone(network) -> None:
    with channels_last(network, CPU) as order:
        assert order == torch.contiguous_format
        if isinstance(network, nn.Module):
            assert all("forward" not in part.__dict__ for part in network.modules())


def test_other_devices_are_left_alone() -> None:
    with channels_last(NETWORKS["instance"](), torch.device("cuda")) as order:
        assert order == torch.contiguous_format


def test_compiled_networks_are_left_alone() -> None:
    network = NETWORKS["instance"]()
    network.compile()
    with channels_last(network, CPU) as order:
        assert order == torch.contiguous_format


def test_layers_come_back_after_an_error() -> None:
    network = NETWORKS["instance"]()
    with pytest.raises(RuntimeError, match="stop"), channels_last(network, CPU):
        raise RuntimeError("stop")
    assert all("forward" not in part.__dict__ for part in network.modules())


@pytest.mark.parametrize("offset", [0.0, 5.0, 1000.0])
@pytest.mark.parametrize(("channels", "groups"), [(1, 1), (6, 6), (6, 3), (6, 1)])
@pytest.mark.parametrize("batch", [1, 2])
def test_normalise_is_as_exact_as_the_usual_order(offset, channels, groups, batch) -> None:
    torch.manual_seed(2)
    usual = torch.randn(batch, channels, 40, 33, 50) * 3 + offset
    weight, bias = torch.rand(channels), torch.randn(channels)
    last = usual.contiguous(memory_format=torch.channels_last_3d)
    exact = group_norm(usual.double(), groups, weight.double(), bias.double())
    found = normalise(last, groups, weight, bias, 1e-5)
    # Beside the error of the usual order: a rounding of mean / deviation in float32.
    allowed = (group_norm(usual, groups, weight, bias) - exact).abs().max() * 2
    allowed = allowed + 2e-6 + torch.finfo(torch.float32).eps * offset / 3
    assert (found - exact).abs().max() < allowed
    assert found.is_contiguous(memory_format=torch.channels_last_3d)
    plain = normalise(last, groups, None, None, 1e-5)
    torch.testing.assert_close(
        plain.double(), group_norm(usual.double(), groups), atol=float(allowed) * 4, rtol=0
    )


def test_normalise_cuts_long_volumes() -> None:
    image = torch.randn(1, 2, 9, 8, 7).contiguous(memory_format=torch.channels_last_3d)
    whole = normalise(image, 2, None, None, 1e-5)
    with mock.patch.object(module, "_TILE", 20):
        torch.testing.assert_close(normalise(image, 2, None, None, 1e-5), whole)


def test_half_precision_windows_are_not_touched() -> None:
    layer = nn.Conv3d(1, 2, 3, padding=1).bfloat16()
    image: Tensor = torch.randn(1, 1, 5, 5, 5).bfloat16()
    with channels_last(layer, CPU), torch.no_grad():
        assert torch.equal(layer(image), nn.Conv3d.forward(layer, image))
