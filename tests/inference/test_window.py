"""Sliding-window prediction against the network applied at once."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from neoseg.inference.window import (
    WindowSettings,
    predict_logits,
    predict_volume,
    probability_map,
)
from neoseg.networks import make_head

SHAPE = (9, 12, 7)


@pytest.fixture
def image() -> Tensor:
    return torch.randn(2, *SHAPE, generator=torch.Generator().manual_seed(0))


class Pointwise(nn.Module):
    """Looks at single voxels, so that windows make no difference; notes what it was given."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.layer = nn.Conv3d(2, channels, 1)
        self.frozen = nn.BatchNorm3d(2).eval()
        self.seen: list[Tensor] = []
        self.training_seen: set[bool] = set()
        self.gradients: set[bool] = set()

    def forward(self, x: Tensor) -> Tensor:
        self.seen.append(x.clone())
        self.training_seen.add(self.training)
        self.gradients.add(torch.is_grad_enabled())
        return self.layer(x)


def settings(patch, **more) -> WindowSettings:
    """Sums in float32, so that equal means equal to rounding."""
    return WindowSettings(**{"patch_size": patch, "accumulate": "float32"} | more)


@pytest.mark.parametrize("mode", ["gaussian", "constant"])
@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize(
    "patch", [(4, 4, 4), (9, 12, 7), (16, 16, 16), (4, 20, 7), (1, 12, 7), (1, 32, 32), (5, 1, 4)]
)
def test_windows_make_no_difference_to_a_pointwise_network(image, space, patch, batch, mode):
    head = make_head("multilabel", space)
    network = Pointwise(head.channels)
    window = settings(patch, batch_size=batch, mode=mode)
    logits = predict_logits(network, image, head, window, "cpu")
    with torch.no_grad():
        expected = network.layer(image[None])[0]
    assert logits.shape == expected.shape
    assert logits.dtype == torch.float32
    assert torch.allclose(logits, expected, atol=1e-5)
    labels = predict_volume(network, image, head, window, "cpu")
    assert labels.dtype == np.uint8
    assert np.array_equal(labels, head.decode(logits[None])[0].numpy())
    assert np.array_equal(labels, predict_volume(network, image, head, window, "cpu"))


def test_half_precision_sums_do_not_round_the_image(image, space):
    head = make_head("softmax", space)
    network = Pointwise(head.channels)
    window = settings((4, 12, 7), accumulate="float16", accumulate_on="cpu")
    logits = predict_logits(network, image, head, window, "cpu")
    assert logits.dtype == torch.float16
    with torch.no_grad():
        assert torch.allclose(logits.float(), network.layer(image[None])[0], atol=1e-2)
    assert torch.equal(network.seen[0][0], image[:, :4])


def test_slices_are_visited_once(image, space):
    head = make_head("softmax", space)
    network = Pointwise(head.channels)
    predict_volume(network, image, head, settings((1, 12, 7), overlap=0.5), "cpu")
    assert len(network.seen) == SHAPE[0]
    assert all(torch.equal(w[0], image[:, i : i + 1]) for i, w in enumerate(network.seen))


def test_overlap_is_used_along_the_other_axes(image, space):
    head = make_head("softmax", space)
    network = Pointwise(head.channels)
    predict_volume(network, image, head, settings((9, 6, 7), overlap=0.5), "cpu")
    assert len(network.seen) == 3


def test_small_volumes_are_padded_with_the_value_asked_for(space):
    head = make_head("softmax", space)
    network = Pointwise(head.channels)
    window = settings((4, 4, 4), pad_value=-3)
    predict_volume(network, torch.ones(2, 4, 3, 4), head, window, "cpu")
    assert sorted(network.seen[0].unique().tolist()) == [-3, 1]
    assert (network.seen[0] == -3).sum() == 2 * 16


def test_modes_come_back_and_no_gradient_is_kept(image, space):
    head = make_head("softmax", space)
    network = Pointwise(head.channels).train()
    network.frozen.eval()
    logits = predict_logits(network, image, head, settings((9, 12, 7)), "cpu")
    assert network.training_seen == {False}
    assert network.gradients == {False}
    assert not logits.requires_grad
    assert (network.training, network.layer.training, network.frozen.training) == (
        *(True, True, False),
    )


def test_modes_come_back_after_an_error(image, space):
    network = Pointwise(99).train()
    with pytest.raises(ValueError, match="gives 99 channels, the softmax head"):
        predict_volume(network, image, make_head("softmax", space), settings((4, 4, 4)), "cpu")
    assert network.training


def test_lists_of_resolutions_give_the_first(image, space):
    head = make_head("softmax", space)
    network = Pointwise(head.channels)

    def deep(x: Tensor) -> list[Tensor]:
        return [network(x), network(x)[:, :, ::2]]

    window = settings((9, 12, 7))
    assert torch.equal(
        predict_logits(deep, image, head, window, "cpu"),
        predict_logits(lambda x: network(x), image, head, window, "cpu"),
    )


@pytest.mark.parametrize("name", ["multilabel", "softmax"])
def test_mirroring_makes_the_prediction_equivariant(image, space, name):
    head = make_head(name, space)
    torch.manual_seed(2)
    network = nn.Conv3d(2, head.channels, 3, padding=1)  # not symmetric along X
    window = settings((5, 12, 7), mirror=True, batch_size=2)
    partners = list(space.class_mirror if name == "multilabel" else space.mirror)
    assert partners[1:3] == [2, 1]

    def both(window):
        straight = predict_logits(network, image, head, window, "cpu")
        flipped = predict_logits(network, image.flip(1), head, window, "cpu")
        return straight, flipped.flip(1)[partners]

    assert torch.allclose(*both(window), atol=1e-5)
    assert not torch.allclose(*both(settings((5, 12, 7))), atol=1e-2)


def test_mirroring_sagittal_slices_is_refused(image, space):
    head = make_head("softmax", space)
    with pytest.raises(ValueError, match="set mirror to false"):
        predict_volume(Pointwise(4), image, head, settings((1, 12, 7), mirror=True), "cpu")


def test_probabilities_of_chosen_classes(image, space):
    head = make_head("softmax", space)
    network = Pointwise(head.channels)
    window = settings((9, 12, 7))
    logits = predict_logits(network, image, head, window, "cpu")
    values = probability_map(head, logits.float(), classes=[4, 1])
    p = logits.softmax(0).numpy()
    assert values.dtype == np.float16
    assert np.allclose(values, [p[1] + p[2], p[1]], atol=1e-3)


@pytest.mark.parametrize(
    "wrong",
    [{"overlap": 1.0}, {"patch_size": (4, 4)}, {"patch_size": (0, 4, 4)}, {"mode": "x"}, {"y": 1}],
)
def test_settings_are_checked(wrong):
    with pytest.raises(ValueError, match="validation error"):
        WindowSettings(**{"patch_size": (4, 4, 4)} | wrong)


def test_image_without_channels_is_refused(image, space):
    with pytest.raises(ValueError, match=r"expected \[M, X, Y, Z\]"):
        predict_volume(
            Pointwise(4), image[0], make_head("softmax", space), settings((4, 4, 4)), "cpu"
        )
