"""nnU-Net's residual encoders and what nnssl pretrains, against their layers one by one."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from small_module import make_module
from test_nnunet_weights import LABELS, read, saved
from torch import Tensor
from torch.nn import functional

from neoseg.findings.settings import ConfigError
from neoseg.networks import build_network
from neoseg.training.warm_start import Source, report_table, start

WIDTHS, BLOCKS = (2, 4, 4), (1, 2, 1)
KERNELS, STRIDES = ((1, 3, 3), (3, 3, 3), (3, 3, 3)), ((1, 1, 1), (1, 2, 2), (2, 2, 2))


def drawn(images: int = 2, classes: int = 3, biases: bool = True) -> dict[str, Tensor]:
    """The weights of a tiny network by the names, along the axes, that nnU-Net has."""
    torch.manual_seed(0)
    found: dict[str, Tensor] = {}

    def layer(name: str, *shape: int, norm: bool = True, bias: bool = biases) -> None:
        found[f"{name}.conv.weight" if norm else f"{name}.weight"] = torch.randn(shape) / 3
        out = shape[1] if "transp" in name else shape[0]
        if bias:
            found[f"{name}.conv.bias" if norm else f"{name}.bias"] = torch.randn(out)
        for what in ("weight", "bias") if norm else ():
            found[f"{name}.norm.{what}"] = torch.randn(out)

    layer("encoder.stem.convs.0", WIDTHS[0], images, *KERNELS[0])
    read = WIDTHS[0]
    for stage, (width, kernel) in enumerate(zip(WIDTHS, KERNELS, strict=True)):
        for number in range(BLOCKS[stage]):
            block = f"encoder.stages.{stage}.blocks.{number}"
            layer(f"{block}.conv1", width, read, *kernel)
            layer(f"{block}.conv2", width, width, *kernel)
            if read != width:
                layer(f"{block}.skip.1", width, read, 1, 1, 1, bias=False)
            read = width
    for stage, level in enumerate((1, 0)):
        wide, below = WIDTHS[level], WIDTHS[level + 1]
        layer(f"decoder.transpconvs.{stage}", below, wide, *STRIDES[level + 1], norm=False)
        layer(f"decoder.stages.{stage}.convs.0", wide, 2 * wide, *KERNELS[level])
        layer(f"decoder.seg_layers.{stage}", classes, wide, 1, 1, 1, norm=False, bias=True)
    return found


def computed(weights: dict[str, Tensor], x: Tensor) -> list[Tensor]:
    """What nnU-Net makes of an image, the coarsest logits first."""

    def layer(name: str, x: Tensor, stride: Sequence[int] = (1, 1, 1)) -> Tensor:
        kernel, bias = weights[f"{name}.conv.weight"], weights.get(f"{name}.conv.bias")
        x = functional.conv3d(x, kernel, bias, tuple(stride), [n // 2 for n in kernel.shape[2:]])
        scale, shift = (weights[f"{name}.norm.{what}"] for what in ("weight", "bias"))
        return functional.instance_norm(x, weight=scale, bias=shift)

    def act(x: Tensor) -> Tensor:
        return functional.leaky_relu(x, 0.01)

    x = act(layer("encoder.stem.convs.0", x))
    skips = []
    for stage, count in enumerate(BLOCKS):
        for number in range(count):
            block, stride = f"encoder.stages.{stage}.blocks.{number}", (1, 1, 1)
            beside = x
            if number == 0 and max(STRIDES[stage]) > 1:
                stride = STRIDES[stage]
                beside = functional.avg_pool3d(x, stride, stride)
            if f"{block}.skip.1.conv.weight" in weights:
                beside = layer(f"{block}.skip.1", beside)
            x = act(layer(f"{block}.conv2", act(layer(f"{block}.conv1", x, stride))) + beside)
        skips.append(x)
    logits = []
    for stage, level in enumerate((1, 0)):
        name = f"decoder.transpconvs.{stage}"
        up, bias = weights[f"{name}.weight"], weights.get(f"{name}.bias")
        x = functional.conv_transpose3d(x, up, bias, STRIDES[level + 1])
        x = act(layer(f"decoder.stages.{stage}.convs.0", torch.cat([x, skips[level]], dim=1)))
        head = f"decoder.seg_layers.{stage}"
        logits.append(functional.conv3d(x, weights[f"{head}.weight"], weights[f"{head}.bias"]))
    return logits


@pytest.mark.parametrize(("order", "biases"), [((0, 1, 2), True), ((1, 0, 2), False)])
def test_the_same_comes_out(tmp_path: Path, order: tuple[int, int, int], biases: bool) -> None:
    weights = drawn(biases=biases)
    found = read(saved(tmp_path / "checkpoint_final.pth", weights, order))
    network = build_network({"name": "n", "divisor": 1, "net": found.net}, 2, 3, (8, 8, 8))
    network.load_state_dict(found.weights)
    image = torch.randn(1, 2, 12, 8, 4)  # X, Y, Z
    places = [2 + 2 - axis for axis in order]  # what stands along each axis of nnU-Net's
    with torch.no_grad():
        coarse, fine = computed(weights, image.permute(0, 1, *places))
        heads = [head.permute(0, 1, *places) for head in network.train()(image)]
        assert torch.equal(network.eval()(image).permute(0, 1, *places), heads[0])
    assert fine.std() > 0.1
    torch.testing.assert_close(heads[0], fine, rtol=1e-4, atol=1e-5)
    enlarged = functional.interpolate(coarse, fine.shape[2:])
    torch.testing.assert_close(heads[1], enlarged, rtol=1e-4, atol=1e-5)
    assert found.images == ("T2w", "T1w")
    assert found.space is not None
    assert [leaf.name for leaf in found.space.leaves] == list(LABELS)
    divisor = [4, 2, 4] if order[0] else [4, 4, 2]
    assert f"network.divisor={divisor}".replace(" ", "") in found.options
    assert "'network.net.blocks=[1,2,1]'" in found.options
    assert "network.net.deep_supr_num=1" in found.options


def pretrained(path: Path, inside: bool) -> Path:
    """Write a file as nnssl's masked autoencoders do: the decoder restores the image."""
    weights = drawn(images=1, classes=1)
    plan = {
        "architecture_plans": {"arch_class_name": "ResEncL", "arch_kwargs": None},
        "pretrain_plan": {"transpose_forward": [0, 1, 2]},
        "key_to_encoder": "encoder.stages",
        "key_to_stem": "encoder.stem",
    }
    if not inside:
        (path.parent / "adaptation_plan.json").write_text(json.dumps(plan))
    more = {"nnssl_adaptation_plan": plan} if inside else {}
    return saved(path, weights, (0, 1, 2), init_args={"fold": 0}, **more)


@pytest.mark.parametrize("inside", [True, False])
def test_of_what_was_pretrained_the_encoder_is_taken(tmp_path: Path, inside: bool) -> None:
    source = Source.read(str(pretrained(tmp_path / "checkpoint_final.pth", inside)))
    assert source.head is None
    assert {name.split(".")[0] for name in source.weights} == {"stem", "encoder"}
    assert "'network.divisor=[4,4,4]'" in source.options
    torch.manual_seed(1)
    net = {
        "_target_": "neoseg.networks.resenc.ResEncUNet",
        "filters": list(WIDTHS),
        "blocks": list(BLOCKS),
        "kernel_size": [[3, 3, 1], 3, 3],
    }
    network = {"name": "r", "divisor": 4, "net": net}
    module = make_module(modalities=["T2w", "T1w"], network=network)
    before = {name: value.clone() for name, value in module.network.state_dict().items()}
    report = start(module, source, None)
    assert all(name.startswith(("up.", "decoder.", "heads.")) for name in report["drawn"])
    after = module.network.state_dict()
    for name, value in after.items():
        torch.testing.assert_close(value, before[name] if name in report["drawn"] else value)
    # Each of two images is read as half of the one that was there.
    halves = source.weights["stem.conv.weight"].expand(-1, 2, -1, -1, -1) / 2
    torch.testing.assert_close(after["stem.conv.weight"], halves)
    kept = "encoder.1.1.conv2.conv.weight"
    assert torch.equal(after[kept], source.weights[kept])
    rows = {row["image"]: row["from"] for row in report["images"]}
    assert rows == dict.fromkeys(("T2w", "T1w"), "mean of the image of its pretraining")
    assert {row["from"] for row in report["classes"]} == {"drawn"}
    assert "tensors drawn (decoder, heads, up)" in str(report_table(report).caption)


def test_an_encoder_alone_needs_no_plan(tmp_path: Path) -> None:
    alone = {name: value for name, value in drawn().items() if name.startswith("encoder.")}
    source = Source.read(str(saved(tmp_path / "f.pth", alone, (0, 1, 2), init_args={})))
    assert (source.head, source.images) == (None, None)
    assert "encoder.2.0.conv2.norm.bias" in source.weights


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"encoder.stages.1.blocks.0.conv3.conv.weight": torch.zeros(4, 4, 1, 1, 1)}, "conv3"),
        ({"encoder.stages.0.blocks.0.squeeze_excitation.fc1.weight": torch.zeros(1)}, "squeeze"),
        ({"encoder.stages.1.blocks.1.conv1.conv.weight": None}, r"encoder\.1\.1\.conv1"),
        ({"encoder.stages.1.blocks.0.conv1.norm.weight": torch.zeros(9)}, "size mismatch"),
        (
            {"encoder.stages.1.blocks.0.conv1.conv.weight": torch.zeros(30_000, 2, 1, 1, 1)},
            "more weights than its checkpoint holds",
        ),
        ({"encoder.stages.2.blocks.0.conv1.conv.weight": None}, "2 levels of an encoder and 2"),
        ({"decoder.seg_layers.1.weight": None}, r"no heads\.0\.weight"),
        ({"decoder.transpconvs.1.weight": None}, "3 levels of an encoder and 1"),
    ],
)
def test_another_architecture_is_one_message(
    tmp_path: Path, change: dict[str, Any], said: str
) -> None:
    weights = {name: value for name, value in (drawn() | change).items() if value is not None}
    path = saved(tmp_path / "f.pth", weights, (0, 1, 2))
    with pytest.raises(ConfigError, match=f"(?s)init_from: .*f.pth has .*{said}.*residual encoder"):
        Source.read(str(path))
