"""Which networks end in a layer that can wait, and what it then gives."""

from __future__ import annotations

from functools import partial

import pytest
import torch
from monai.networks.nets import DynUNet, SegResNet, UNet
from torch import Tensor, nn

from neoseg.inference.projection import Projection, find_last_layer
from neoseg.inference.window import WindowSettings, predict_logits
from neoseg.networks import make_head
from neoseg.networks.slicewise import SliceWise
from neoseg.networks.unet2d import UNet2d
from neoseg.training.teacher import Teacher

N = 11


class Ending(nn.Module):
    """A small network and something after it."""

    def __init__(self, after=None, bias: bool = True, kernel: int = 1) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.body = nn.Conv3d(1, 3, 3, padding=1)
        self.last = nn.Conv3d(3, N, kernel, padding=kernel // 2, bias=bias)
        self.after = after

    def forward(self, x: Tensor) -> Tensor | list[Tensor]:
        y = self.last(self.body(x).relu())
        return y if self.after is None else self.after(y)


def dyn_unet(deep: bool) -> nn.Module:
    return DynUNet(
        3,
        1,
        N,
        kernel_size=[3, 3, 3],
        strides=[1, 2, 2],
        upsample_kernel_size=[2, 2],
        filters=[4, 6, 8],
        deep_supervision=deep,
        deep_supr_num=1,
    )


WAITING = {
    "plain": Ending,
    "no bias": lambda: Ending(bias=False),
    "list of resolutions": lambda: Ending(lambda y: [y, y[:, :, ::2]]),
    "DynUNet": lambda: dyn_unet(False),
    "DynUNet, deep supervision": lambda: dyn_unet(True),
    "SegResNet": lambda: SegResNet(spatial_dims=3, in_channels=1, out_channels=N, init_filters=8),
    "teacher": lambda: Teacher(Ending(), 0.9),
    "2D": lambda: SliceWise(partial(UNet2d, filters=(4, 8)), 1, N),
}
NOT_WAITING = {
    "kernel of 3": lambda: Ending(kernel=3),
    "something after": lambda: Ending(lambda y: y.clamp(-1, 1)),
    "something in place": lambda: Ending(lambda y: y.clamp_(-100, 100)),
    "in place, on nothing": lambda: Ending(lambda y: y.relu_()),
    "flipped": lambda: Ending(lambda y: y.flip(2)),
    "axes exchanged": lambda: Ending(lambda y: y.transpose(3, 4)),
    "residual UNet": lambda: UNet(
        spatial_dims=3,
        in_channels=1,
        out_channels=N,
        channels=(4, 8),
        strides=(2,),
        num_res_units=1,
    ),
}


def image_of(network: nn.Module) -> Tensor:
    shape = (1, 16, 8) if isinstance(network, SliceWise) else (8, 16, 8)
    return torch.randn(2, 1, *shape, generator=torch.Generator().manual_seed(1))


@torch.no_grad()
def trace(network: nn.Module):
    image = image_of(network)

    def run() -> Tensor:
        output = network(image)
        return output[0] if isinstance(output, list) else output

    return (*find_last_layer(network, run, N), run())


@pytest.mark.parametrize("name", WAITING)
def test_features_and_layer_give_the_logits(name) -> None:
    logits, layer, features, expected = trace(WAITING[name]().eval())
    assert layer is not None
    assert features.ndim == 5
    assert torch.equal(logits, expected)
    projection = Projection.of(layer, None, torch.device("cpu"))
    torch.testing.assert_close(projection(features[1]), expected[1])


@pytest.mark.parametrize("name", NOT_WAITING)
def test_other_endings_are_left_alone(name) -> None:
    logits, layer, features, expected = trace(NOT_WAITING[name]().eval())
    assert layer is None
    assert features is None
    assert torch.equal(logits, expected)


def test_a_layer_that_is_used_twice_cannot_wait() -> None:
    class Twice(Ending):
        def forward(self, x: Tensor) -> Tensor:
            features = self.body(x)
            return self.last(features + self.last(features).mean())

    assert trace(Twice().eval())[1] is None


def test_compiled_networks_are_left_alone() -> None:
    network = Ending().eval()
    network.compile()
    image = image_of(network)
    found = find_last_layer(network, lambda: Ending.forward(network, image), N)
    assert found[1] is None


def test_functions_are_left_alone() -> None:
    network = Ending().eval()
    assert find_last_layer(lambda x: x, lambda: network(image_of(network)), N)[1] is None


def test_mirrored_features_follow(drawem87) -> None:
    head = make_head("softmax", drawem87)
    partners = list(drawem87.mirror)
    layer = nn.Conv3d(5, head.channels, 1)
    projection = Projection.of(layer, partners, torch.device("cpu"))
    features = torch.randn(10, 2, 3, 4)
    with torch.no_grad():
        own, mirrored = layer(features[None, :5])[0], layer(features[None, 5:])[0]
        expected = (own + mirrored[partners]) / 2
        torch.testing.assert_close(projection(features), expected)


@pytest.mark.parametrize(
    ("features", "mirror", "waits"), [(4, False, 1), (4, True, 1), (6, True, 0)]
)
def test_the_smaller_of_both_is_blended(drawem9, features, mirror, waits, monkeypatch) -> None:
    calls = []
    build = Projection.of

    def spy(*arguments) -> Projection:
        calls.append(arguments)
        return build(*arguments)

    monkeypatch.setattr(Projection, "of", spy)
    head = make_head("softmax", drawem9)
    network = nn.Sequential(nn.Conv3d(1, features, 1), nn.Conv3d(features, head.channels, 1))
    window = WindowSettings(patch_size=(4, 4, 4), mirror=mirror)
    predict_logits(network, torch.randn(1, 6, 6, 6), head, window, "cpu")
    assert len(calls) == waits


def test_the_network_comes_back_as_it_was(drawem9) -> None:
    head = make_head("softmax", drawem9)
    network = nn.Sequential(nn.Conv3d(1, 3, 3, padding=1), nn.Conv3d(3, head.channels, 1)).train()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    strides = [p.stride() for p in network.parameters()]
    image = torch.randn(1, 1, 6, 6, 6)
    expected = network(image)
    predict_logits(network, image[0], head, WindowSettings(patch_size=(4, 4, 4)), "cpu")
    assert torch.equal(network(image), expected)
    assert all("forward" not in module.__dict__ for module in network.modules())
    assert not any(module._forward_hooks for module in network.modules())
    assert [p.stride() for p in network.parameters()] == strides
    assert all(torch.equal(before[name], value) for name, value in network.state_dict().items())
    assert network.training


def test_the_network_comes_back_after_an_error(drawem9) -> None:
    head = make_head("softmax", drawem9)
    network = nn.Sequential(nn.Conv3d(1, 3, 1), nn.Conv3d(3, head.channels, 1))
    windows = []

    def fail(module, inputs):
        windows.append(inputs)
        if len(windows) == 3:
            raise RuntimeError("out of memory")

    network.register_forward_pre_hook(fail)
    with pytest.raises(RuntimeError, match="out of memory"):
        predict_logits(
            network, torch.randn(1, 9, 6, 6), head, WindowSettings(patch_size=(4, 4, 4)), "cpu"
        )
    assert all("forward" not in module.__dict__ for module in network.modules())
