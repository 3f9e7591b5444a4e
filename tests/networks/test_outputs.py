"""What a network of somebody's own gives is looked at before it is used."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from neoseg.networks import NetworkError
from neoseg.networks.outputs import heads_of

IMAGE = torch.zeros(2, 1, 4, 6, 8)
LOGITS = torch.zeros(2, 5, 4, 6, 8)


@pytest.mark.parametrize("output", [LOGITS, [LOGITS], (LOGITS, LOGITS)])
def test_logits_and_lists_of_them(output: Any) -> None:
    assert all(head is LOGITS for head in heads_of(nn.Identity(), output, IMAGE))


@pytest.mark.parametrize(
    ("output", "told"),
    [
        (LOGITS[..., ::2], "a Tensor of shape [2, 5, 4, 6, 4]"),
        ((LOGITS, LOGITS[:1]), "a Tensor of shape [1, 5, 4, 6, 8]"),
        ({"logits": LOGITS}, "a dict for an image"),
        (LOGITS[0], "a Tensor of shape [5, 4, 6, 8]"),
        ([], "gives an empty list"),
    ],
)
def test_anything_else_is_named(output: Any, told: str) -> None:
    with pytest.raises(NetworkError, match="Identity gives") as caught:
        heads_of(nn.Identity(), output, IMAGE)
    assert told in str(caught.value)


def test_another_number_of_channels_is_refused() -> None:
    assert heads_of(nn.Identity(), LOGITS, IMAGE, LOGITS.shape[1])
    with pytest.raises(NetworkError, match=r"Identity gives \d+ channels.*out_channels=99"):
        heads_of(nn.Identity(), LOGITS, IMAGE, 99)
