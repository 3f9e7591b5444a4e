"""The residual encoder's settings; what it computes is in `inference/test_nnunet_residual`."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from neoseg.networks.dropout import dropouts
from neoseg.networks.resenc import ResEncUNet

SMALL: dict[str, Any] = {"filters": [4, 6, 8], "blocks": [1, 2, 1]}


def built(**settings: Any) -> ResEncUNet:
    torch.manual_seed(0)
    return ResEncUNet(1, 3, **{**SMALL, **settings})


def test_a_number_is_the_same_for_all_levels() -> None:
    image = torch.randn(1, 1, 8, 8, 8)
    every = built(kernel_size=[3, [3, 3, 3], 3], strides=[1, 2, [2, 2, 2]])
    assert torch.equal(built()(image), every(image))
    flat = built(kernel_size=[[3, 3, 1], 3, 3], strides=[1, [2, 2, 1], 2])
    assert flat.train()(image[..., :2]).shape == (1, 3, 8, 8, 2)


def test_a_block_starts_as_what_passes_beside_it() -> None:
    torch.manual_seed(0)
    image = torch.randn(1, 4, 4, 4, 4)
    network = built(filters=[4, 4, 4])
    first, second = network.encoder[0][0], network.encoder[1][0]
    beside = torch.nn.functional.leaky_relu
    torch.testing.assert_close(first(image), beside(image))
    pooled = image.unfold(2, 2, 2).unfold(3, 2, 2).unfold(4, 2, 2).mean((-3, -2, -1))
    torch.testing.assert_close(second(image), beside(pooled))


def test_dropout_is_after_all_convolutions_but_the_last_of_a_block() -> None:
    assert not dropouts(built())
    found = dropouts(built(dropout=0.2, decoder_convs=2))
    assert [layer.p for layer in found] == [0.2] * (1 + 4 + 4)
    assert built(dropout=0.2).state_dict().keys() == built().state_dict().keys()


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"blocks": [1, 2]}, "blocks has 2 levels, filters 3"),
        ({"strides": [1, 2]}, "strides has 2 levels"),
        ({"kernel_size": [3, 3, 3, 3]}, "kernel_size has 4 levels"),
        ({"deep_supervision": True}, "deep_supr_num=2, at most 1"),
        ({"filters": [4], "blocks": [1]}, "1 levels"),
    ],
)
def test_settings_that_do_not_fit(wrong: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        built(**wrong)
