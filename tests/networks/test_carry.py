"""Weights carried to other channels, against what the networks compute."""

from __future__ import annotations

import math

import pytest
import torch
import yaml
from torch import Tensor, nn

from neoseg.configuration.config import CONFIG_DIR
from neoseg.labels import LabelSpace, LabelTable
from neoseg.labels.carried import carried
from neoseg.networks import build_network, make_head
from neoseg.networks.carry import head_start, image_start, is_head, moved, roles


def space(leaves: str, **classes: list[str]) -> LabelSpace:
    rows = [
        {"index": n, "name": f"leaf {name}", "abbreviation": name, "color": "#000000"}
        for n, name in enumerate(leaves.split())
    ]
    more = [{"abbreviation": k, "name": f"class {k}", "leaves": v} for k, v in classes.items()]
    raw = {"name": "t", "background": 0, "leaves": rows, "classes": more}
    return LabelSpace.from_table(LabelTable.parse(raw))


OLD = space("BG HIP x")
NEW = space("BG x ANT POST y", HIP=["ANT", "POST"])
SMALL = {
    "unet3d": {"channels": [4, 8], "strides": [2]},
    "unet3d_large": {
        "kernel_size": [3, 3, 3],
        "strides": [1, 2, 2],
        "upsample_kernel_size": [2, 2],
        "filters": [4, 8, 8],
        "deep_supr_num": 1,
    },
    "dynunet": {
        "kernel_size": [3, 3, 3],
        "strides": [1, 2, 2],
        "upsample_kernel_size": [2, 2],
        "filters": [4, 8, 8],
    },
    "segresnet": {"init_filters": 8, "blocks_down": [1, 1], "blocks_up": [1]},
    "resenc": {"filters": [4, 8, 8], "blocks": [1, 2, 1], "deep_supr_num": 1},
}


def built(name: str, images: int, outputs: int) -> nn.Module:
    raw = yaml.safe_load((CONFIG_DIR / "network" / f"{name}.yaml").read_text())
    raw["net"] |= SMALL.get(name, {})
    size = [1, 32, 32] if name == "unet2d" else [16, 16, 16]
    raw["divisor"] = 1
    return build_network(raw, images, outputs, size).double()


def carry(
    name: str, old: tuple[LabelSpace, str, str], new: tuple[LabelSpace, str, str]
) -> tuple[Tensor, Tensor]:
    """Return logits of an old network, and of a new one that starts from it, for the same images.

    Each is told by its label space, its head and its images, a letter each.
    """
    before, after = (make_head(head, where) for where, head, _ in (old, new))
    source = built(name, len(old[2]), before.channels)
    target = built(name, len(new[2]), after.channels)
    known = roles(target, lambda m, n: built(name, len(new[2]) + m, after.channels + n))
    start = head_start(before, after, carried(old[0], new[0]))
    found = moved(source.state_dict(), target, known, image_start(old[2], new[2]), start)
    assert not found.drawn
    target.load_state_dict(found.weights)
    shape = (1, 32, 32) if name == "unet2d" else (16, 16, 16)
    images = {letter: torch.randn(1, 1, *shape).double() for letter in sorted(old[2] + new[2])}
    with torch.no_grad():
        there, here = (
            net.eval()(torch.cat([images[letter] for letter in letters], 1))
            for net, letters in ((source, old[2]), (target, new[2]))
        )
    return there[0], here[0]


@pytest.mark.parametrize(
    "name", ["unet2d", "unet3d", "unet3d_large", "dynunet", "segresnet", "resenc"]
)
def test_old_classes_keep_their_logits(name: str) -> None:
    torch.manual_seed(0)
    there, here = carry(name, (OLD, "multilabel", "a"), (NEW, "multilabel", "ba"))
    background, hip, x = there
    for place, expected in {0: background, 1: x, 2: hip, 3: hip, 5: hip}.items():
        assert torch.allclose(here[place], expected, rtol=0, atol=1e-9), (name, place)


@pytest.mark.parametrize("name", ["unet2d", "unet3d", "unet3d_large"])
def test_parts_in_a_softmax_share_their_probability(name: str) -> None:
    torch.manual_seed(0)
    new = space("BG ANT POST x", HIP=["ANT", "POST"])
    there, here = carry(name, (OLD, "softmax", "a"), (new, "softmax", "a"))
    p, q = there.softmax(0), here.softmax(0)
    assert torch.allclose(q[1] + q[2], p[1])
    assert torch.allclose(q[1], q[2])
    assert torch.allclose(q[[0, 3]], p[[0, 2]])


def test_multilabel_to_softmax_decides_as_before_and_back_keeps_the_leaves() -> None:
    torch.manual_seed(0)
    both = space("BG a b c", AB=["a", "b"], ABC=["AB", "c"])
    there, here = carry("segresnet", (both, "multilabel", "a"), (both, "softmax", "a"))
    scores = make_head("multilabel", both).leaf_scores(there[None])[0]
    assert torch.allclose(here.softmax(0), scores.softmax(0))
    there, here = carry("segresnet", (both, "softmax", "a"), (both, "multilabel", "a"))
    assert torch.allclose(here[:4], there)
    assert torch.allclose(here[4], there[1:3].mean(0) + math.log(2))


def test_an_image_that_is_lost_is_left_out() -> None:
    table = image_start(["T2w", "T1w", "T1w?"], ["T1w", "FLAIR"])
    assert table.tolist() == [[0, 1, 0], [0, 0, 0]]
    assert image_start(["T2w", "T2w?"], ["T1w", "PD", "PD?"]).tolist() == [
        [0.5, 0],
        [0.5, 0],
        [0, 0],
    ]


def test_the_head_is_what_goes_by_the_classes() -> None:
    network = built("segresnet", 1, 3)
    known = roles(network, lambda m, n: built("segresnet", 1 + m, 3 + n))
    names = {name for name in network.state_dict() if is_head(name, known)}
    assert names == {"conv_final.2.conv.weight", "conv_final.2.conv.bias"}


def test_nothing_of_a_head_is_taken_whose_meaning_is_not_known() -> None:
    network, other = built("segresnet", 1, 3), built("segresnet", 1, 3)
    known = roles(network, lambda m, n: built("segresnet", 1 + m, 3 + n))
    found = moved(other.state_dict(), network, known, None, None)
    assert set(found.drawn) == set(known)
    assert all(torch.equal(found.weights[n], network.state_dict()[n]) for n in found.drawn)
    assert all(torch.equal(found.weights[n], other.state_dict()[n]) for n in found.kept)
