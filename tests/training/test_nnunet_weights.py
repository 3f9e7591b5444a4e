"""nnU-Net's checkpoints: the same numbers come out, and nothing but data goes in."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional

from neoseg.findings.settings import ConfigError
from neoseg.inference.checkpoint import read_weights
from neoseg.networks import build_network
from neoseg.training.nnunet import NnUNet, nnunet_of
from neoseg.training.warm_start import Source

WIDTHS, KERNELS = (2, 4, 6), ((1, 3, 3), (3, 3, 3), (3, 3, 3))
STRIDES = ((1, 1, 1), (1, 2, 2), (2, 2, 2))
LABELS = {"background": 0, "anterior": 1, "posterior": 2}


def drawn(images: int = 2, classes: int = 3) -> dict[str, Tensor]:
    """The weights of a tiny network by the names, along the axes, that nnU-Net has."""
    torch.manual_seed(0)
    found: dict[str, Tensor] = {}

    def layer(name: str, *shape: int, norm: bool = True) -> None:
        found[f"{name}.conv.weight" if norm else f"{name}.weight"] = torch.randn(shape) / 3
        out = shape[1] if "transp" in name else shape[0]
        found[f"{name}.conv.bias" if norm else f"{name}.bias"] = torch.randn(out)
        for what in ("weight", "bias") if norm else ():
            found[f"{name}.norm.{what}"] = torch.randn(out)

    read = images
    for stage, (width, kernel) in enumerate(zip(WIDTHS, KERNELS, strict=True)):
        layer(f"encoder.stages.{stage}.0.convs.0", width, read, *kernel)
        layer(f"encoder.stages.{stage}.0.convs.1", width, width, *kernel)
        read = width
    for stage, level in enumerate((1, 0)):
        wide, below = WIDTHS[level], WIDTHS[level + 1]
        layer(f"decoder.transpconvs.{stage}", below, wide, *STRIDES[level + 1], norm=False)
        layer(f"decoder.stages.{stage}.convs.0", wide, 2 * wide, *KERNELS[level])
        layer(f"decoder.stages.{stage}.convs.1", wide, wide, *KERNELS[level])
        layer(f"decoder.seg_layers.{stage}", classes, wide, 1, 1, 1, norm=False)
    return found


def computed(weights: dict[str, Tensor], image: Tensor) -> Tensor:
    """What nnU-Net makes of an image, layer by layer."""

    def block(name: str, x: Tensor, stride: Sequence[int] = (1, 1, 1)) -> Tensor:
        for number in (0, 1):
            conv, norm = (f"{name}.convs.{number}.{kind}" for kind in ("conv", "norm"))
            kernel = weights[f"{conv}.weight"]
            pads = [n // 2 for n in kernel.shape[2:]]
            step = tuple(stride) if number == 0 else (1, 1, 1)
            x = functional.conv3d(x, kernel, weights[f"{conv}.bias"], step, pads)
            x = functional.instance_norm(
                x, weight=weights[f"{norm}.weight"], bias=weights[f"{norm}.bias"]
            )
            x = functional.leaky_relu(x, 0.01)
        return x

    skips = []
    for stage, stride in enumerate(STRIDES):
        image = block(f"encoder.stages.{stage}.0", image, stride)
        skips.append(image)
    for stage, level in enumerate((1, 0)):
        name, step = f"decoder.transpconvs.{stage}", STRIDES[level + 1]
        up, bias = weights[f"{name}.weight"], weights[f"{name}.bias"]
        image = functional.conv_transpose3d(image, up, bias, step)
        image = block(f"decoder.stages.{stage}", torch.cat([image, skips[level]], dim=1))
    last = "decoder.seg_layers.1"
    return functional.conv3d(image, weights[f"{last}.weight"], weights[f"{last}.bias"])


def saved(path: Path, weights: dict[str, Tensor], order: Sequence[int], **more: Any) -> Path:
    """Write a file as nnU-Net does, with the second names that its modules give."""
    twice = {k.replace(".conv.", ".all_modules.0."): v for k, v in weights.items()}
    twice |= {k.replace("encoder.", "decoder.encoder."): v for k, v in weights.items()}
    plans = {"transpose_forward": list(order), "plans_name": "nnUNetPlans"}
    dataset = {"channel_names": {"0": "T2w", "1": "T1w"}, "labels": LABELS}
    content = {
        "network_weights": {**twice, **weights},
        "optimizer_state": {"state": {}, "param_groups": [{"lr": 0.01}]},
        "_best_ema": np.float64(0.5),
        "logging": {"train_losses": [np.float32(-0.5)]},
        "init_args": {"plans": plans, "dataset_json": dataset, "device": torch.device("cpu")},
    }
    torch.save(content | more, path)
    return path


def read(path: Path) -> NnUNet:
    return nnunet_of(path, *read_weights(path))


@pytest.mark.parametrize("order", [(0, 1, 2), (1, 0, 2)])
def test_the_same_comes_out(tmp_path: Path, order: tuple[int, int, int]) -> None:
    weights = drawn()
    found = read(saved(tmp_path / "checkpoint_final.pth", weights, order))
    net = found.net | {"deep_supervision": False}
    network = build_network({"name": "n", "divisor": 1, "net": net}, 2, 3, (8, 8, 8)).eval()
    network.load_state_dict(found.weights, strict=False)
    image = torch.randn(1, 2, 12, 8, 4)  # X, Y, Z
    places = [2 + 2 - axis for axis in order]  # what stands along each axis of nnU-Net's
    with torch.no_grad():
        expected = computed(weights, image.permute(0, 1, *places))
        got = network(image).permute(0, 1, *places)
    assert expected.std() > 0.1
    torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-5)
    assert found.images == ("T2w", "T1w")
    assert found.space is not None
    assert [leaf.name for leaf in found.space.leaves] == list(LABELS)
    assert found.net["kernel_size"][0][2 - order[0]] == 1
    assert "+network.net.trans_bias=true" in found.options


def test_plans_and_labels_beside_the_fold(tmp_path: Path) -> None:
    (tmp_path / "fold_0").mkdir()
    (tmp_path / "plans.json").write_text(json.dumps({"transpose_forward": [2, 1, 0]}))
    told = {"labels": LABELS, "channel_names": {"0": "a", "1": "b"}}
    (tmp_path / "dataset.json").write_text(json.dumps(told))
    path = saved(tmp_path / "fold_0" / "checkpoint_best.pth", drawn(), (0, 1, 2), init_args={})
    found = read(path)
    assert found.images == ("a", "b")
    assert found.net["kernel_size"][0] == [1, 3, 3]


def test_regions_have_a_head_of_their_own(tmp_path: Path) -> None:
    regions = {"background": 0, "whole": [1, 2], "part": [2]}
    args = {"plans": {}, "dataset_json": {"labels": regions}}
    path = saved(tmp_path / "f.pth", drawn(classes=2), (0, 1, 2), init_args=args)
    source = Source.read(str(path))
    assert source.head is None
    assert source.images is None


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"encoder.stem.convs.0.conv.weight": torch.zeros(2, 2, 3, 3, 3)}, r"stages\.0\.0\.convs"),
        ({"encoder.stages.0.0.convs.2.conv.weight": torch.zeros(2, 2, 1, 3, 3)}, r"conv3"),
        ({"encoder.stages.1.0.convs.0.conv.weight": torch.zeros(4, 2, 3, 3)}, "of 2 dimensions"),
        ({"encoder.stages.1.0.convs.1.norm.weight": torch.zeros(9)}, "size mismatch"),
        ({"encoder.other": torch.zeros(1)}, r"encoder\.other"),
    ],
)
def test_another_architecture_is_one_message(
    tmp_path: Path, change: dict[str, Tensor], said: str
) -> None:
    path = saved(tmp_path / "f.pth", drawn() | change, (0, 1, 2))
    with pytest.raises(ConfigError, match=f"(?s)init_from: .*f.pth has .*{said}.*plain 3D U-Net"):
        Source.read(str(path))


def test_numbers_pass_and_objects_do_not(tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> Any:
            return (Path.touch, (tmp_path / "ran",))

    for name, value in (("code", Evil()), ("objects", np.array([Evil()], dtype=object))):
        path = saved(tmp_path / f"{name}.pth", drawn(), (0, 1, 2), logging={"losses": [value]})
        with pytest.raises(ConfigError, match=f"{name}.pth .*names "):
            Source.read(str(path))
    assert not (tmp_path / "ran").exists()


def test_a_number_of_another_kind_does_not_pass(tmp_path: Path) -> None:
    dates = np.datetime64("2020-01-01")
    path = saved(tmp_path / "f.pth", drawn(), (0, 1, 2), _best_ema=dates)
    with pytest.raises(ConfigError, match="a number of the kind 'M8'"):
        Source.read(str(path))
