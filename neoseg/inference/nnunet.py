"""nnU-Net's plain 3D U-Net out of its checkpoint, as MONAI's `DynUNet`, which computes the same.

Its networks run over Z, Y, X, or what its plans make of them; here weights run over X, Y, Z. The
biases of convolutions before an instance norm, which takes them away again, are left out.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor
from torch.nn.functional import pad

from neoseg.cohort.named import named_labels
from neoseg.findings.problems import Problems
from neoseg.foreign import ForeignError, read_json, require_plain, require_values, value_at
from neoseg.labels import LabelSpace, LabelTable
from neoseg.labels.draft import draft
from neoseg.networks import build_network

_BLOCK = re.compile(r"(encoder|decoder)\.stages\.(\d+)\.(?:0\.)?convs\.(\d+)\.(conv|norm)\.(\w+)")
_UP = re.compile(r"decoder\.(transpconvs|seg_layers)\.(\d+)\.(\w+)")
_SAME = re.compile(r"decoder\.encoder\.|.*\.all_modules\.|(.*\.convs\.\d+\.conv\.bias)$")
"""What is another name of a weight, or does not change what comes out."""


@dataclass(frozen=True)
class NnUNet:
    """A network of nnU-Net.

    Attributes:
        weights: as the `state_dict` of the `DynUNet` has them.
        net: the settings of that class, along X, Y, Z.
        images: names of its channels, and what those that it gives mean, leaf by leaf; None where
            its file does not tell, or where they are regions.
    """

    weights: dict[str, Tensor]
    net: dict[str, Any]
    images: tuple[str, ...] | None
    space: LabelSpace | None

    @property
    def options(self) -> str:
        """What makes the network of a run this one."""
        divisor = [math.prod(along) for along in zip(*self.net["strides"], strict=True)]
        keys = ("kernel_size", "strides", "upsample_kernel_size", "filters")
        said = [f"network.divisor={divisor}", *(f"network.net.{k}={self.net[k]}" for k in keys)]
        few = "" if len(self.net["strides"]) > 3 else " network.net.deep_supr_num=1"
        quoted = " ".join(f"'{text.replace(' ', '')}'" for text in said)
        return f"network=unet3d_large {quoted}{few} +network.net.trans_bias=true"


def is_nnunet(weights: Mapping[str, Tensor]) -> bool:
    """Whether weights have the names that nnU-Net gives."""
    return any(name.startswith(("encoder.stages.", "encoder.stem.")) for name in weights)


def nnunet_of(path: Path, weights: Mapping[str, Tensor], told: Mapping[str, Any]) -> NnUNet:
    """Return the network of a checkpoint.

    Args:
        path: of the checkpoint; its fold's folder may lie beside `plans.json` and `dataset.json`.
        weights: as nnU-Net names them.
        told: what else is in the checkpoint, plain values among other things.

    Raises:
        ForeignError: another architecture, or files that are damaged.
    """
    plans, dataset = (
        _told(path, told, key, name)
        for key, name in (("plans", "plans.json"), ("dataset_json", "dataset.json"))
    )
    order = value_at(plans, "transpose_forward", [0, 1, 2])
    if not isinstance(order, list) or sorted(order) != [0, 1, 2]:
        raise ForeignError(f"{path}: its plans have the transpose_forward {order!r}")
    along = [order.index(2 - axis) for axis in range(3)]
    named = _named(path, weights, along)
    net = _net(path, named)
    read, given = named["input_block.conv1.conv.weight"], named["output_block.conv.conv.weight"]
    config = {"name": "nnunet", "divisor": 1, "net": net}
    network = build_network(config, read.shape[1], given.shape[0], (2, 2, 2))
    network = getattr(network, "network", network)  # without what lists its heads
    there = network.state_dict()
    named = {name: _wider(value, there.get(name, value)) for name, value in named.items()}
    try:
        lacking, more = network.load_state_dict(named, strict=False)
    except RuntimeError as error:
        raise _other(path, str(error)) from None
    lacking = [name for name in lacking if not name.startswith("skip_layers.")]
    if lacking or more:
        raise _other(path, f"weights {', '.join([*lacking, *more][:3])}")
    return NnUNet(
        network.state_dict(), net, _images(dataset, read.shape[1]), _space(path, dataset, given)
    )


def _told(path: Path, told: Mapping[str, Any], key: str, name: str) -> dict[str, Any]:
    """Return the plans or the description of the data: of the checkpoint, or beside its fold."""
    found = value_at(told, f"init_args.{key}")
    beside = path.resolve().parent.parent / name
    if found is None and beside.is_file():
        found = read_json(beside)
    require_plain(found, f"{path}, {key}")
    require_values(found, f"{path}, {key}")
    return found if isinstance(found, dict) else {}


def _named(path: Path, weights: Mapping[str, Tensor], along: list[int]) -> dict[str, Tensor]:
    """Return the weights by their names in a `DynUNet`, along X, Y, Z."""
    if any(name.startswith("encoder.stem.") for name in weights):
        raise _other(path, "a residual encoder")
    levels = 1 + max((int(found[2]) for found in map(_BLOCK.match, weights) if found), default=0)
    found: dict[str, Tensor] = {}
    for name, value in weights.items():
        if _SAME.match(name):
            continue
        if value.ndim not in (1, 5):
            raise _other(path, f"{name} of {value.ndim - 2} dimensions")
        if value.ndim == 5:
            value = value.permute(0, 1, *(2 + axis for axis in along)).contiguous()
        found[_new_name(path, name, levels)] = value
    return found


def _new_name(path: Path, name: str, levels: int) -> str:
    if block := _BLOCK.fullmatch(name):
        side, kind, what = block[1], block[4], block[5]
        stage, number = int(block[2]), int(block[3]) + 1
        if side == "decoder":
            where = f"upsamples.{stage}.conv_block"
        elif stage in (0, levels - 1):
            where = "bottleneck" if stage else "input_block"
        else:
            where = f"downsamples.{stage - 1}"
        return f"{where}.{kind}{number}.{'conv.' if kind == 'conv' else ''}{what}"
    if up := _UP.fullmatch(name):
        level = levels - 2 - int(up[2])
        if up[1] == "transpconvs":
            return f"upsamples.{up[2]}.transp_conv.conv.{up[3]}"
        where = f"deep_supervision_heads.{level - 1}" if level else "output_block"
        return f"{where}.conv.conv.{up[3]}"
    raise _other(path, name)


def _net(path: Path, named: Mapping[str, Tensor]) -> dict[str, Any]:
    """Return the settings of the `DynUNet` that has these weights."""
    ups = sum(name.endswith(".transp_conv.conv.weight") for name in named)
    blocks = ["input_block", *(f"downsamples.{n}" for n in range(ups - 1)), "bottleneck"]
    try:
        first = [named[f"{block}.conv1.conv.weight"].shape for block in blocks]
        steps = [
            list(named[f"upsamples.{n}.transp_conv.conv.weight"].shape[2:])
            for n in reversed(range(ups))
        ]
    except KeyError as error:
        raise _other(path, f"no {error.args[0]}") from None
    if ups < 2:
        raise _other(path, f"{ups + 1} levels")
    return {
        "_target_": "monai.networks.nets.DynUNet",
        "spatial_dims": 3,
        "kernel_size": [list(shape[2:]) for shape in first],
        "strides": [[1, 1, 1], *steps],
        "upsample_kernel_size": steps,
        "filters": [shape[0] for shape in first],
        "norm_name": ["INSTANCE", {"affine": True}],
        "act_name": ["leakyrelu", {"negative_slope": 0.01, "inplace": True}],
        "deep_supervision": True,
        "deep_supr_num": ups - 1,
        "trans_bias": "upsamples.0.transp_conv.conv.bias" in named,
    }


def _images(dataset: Mapping[str, Any], count: int) -> tuple[str, ...] | None:
    names = dataset.get("channel_names") or dataset.get("modality")
    if not isinstance(names, dict) or set(names) != {str(n) for n in range(count)}:
        return None
    return tuple(str(names[str(n)]) for n in range(count))


def _space(path: Path, dataset: Mapping[str, Any], given: Tensor) -> LabelSpace | None:
    """Return what the channels mean, where each is a label."""
    if "labels" not in dataset:
        return None
    problems = Problems()
    named, regions = named_labels(dataset, path, problems)
    problems.settle(f"label names in '{path}'")
    if regions or len(named) != len(given):
        return None
    return LabelSpace.from_table(LabelTable.parse(draft("nnunet", named)))


def _wider(value: Tensor, fresh: Tensor) -> Tensor:
    """Give a flat kernel zeros around it: MONAI's way up has those of the level below."""
    room = [n - own for n, own in zip(fresh.shape, value.shape, strict=True)]
    if value.ndim < 5 or any(room[:2]) or min(room) < 0 or any(n % 2 for n in room):
        return value
    return pad(value, [n // 2 for n in reversed(room[2:]) for _ in "12"])


def _other(path: Path, what: str) -> ForeignError:
    return ForeignError(
        f"{path} has {what}, so it is another network than nnU-Net's plain 3D U-Net of two "
        "convolutions a level with instance norm; its others are not read"
    )
