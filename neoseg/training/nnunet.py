"""nnU-Net's 3D U-Nets out of its checkpoints, as networks that compute the same.

Of what nnssl has pretrained the encoder is read, as its adaptation plan says: a decoder has learnt
to restore images. Networks run over Z, Y, X, or what plans make of that; here weights run over
X, Y, Z. The biases of convolutions before an instance norm, which takes them away, are left out.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from neoseg.cohort.named import named_labels
from neoseg.findings.problems import Problems
from neoseg.foreign import ForeignError, read_json, require_plain, require_values, value_at
from neoseg.labels import LabelSpace, LabelTable
from neoseg.labels.draft import draft
from neoseg.networks import NetworkError, build_network, weighing
from neoseg.training.nnunet_layers import other, plain, residual, wider

_SAME = re.compile(r"decoder\.encoder\.|.*\.all_modules\.|.*\.conv\.bias$")
"""What is another name of a weight, or does not change what comes out."""

_TOPOLOGY = (
    *("kernel_size", "strides", "upsample_kernel_size", "filters"),
    *("blocks", "decoder_convs"),
)

PRETRAINED = "the image of its pretraining"


@dataclass(frozen=True)
class NnUNet:
    """A network of nnU-Net.

    Attributes:
        weights: as the `state_dict` of the class in `net` has them, or those of its encoder.
        net: a class and its settings, along X, Y, Z.
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
        net, levels = self.net, len(self.net["filters"])
        steps = net["strides"]  # 2 where only an encoder is known
        steps = [[1] * 3, *[[steps] * 3] * (levels - 1)] if isinstance(steps, int) else steps
        said = [f"network.divisor={[math.prod(along) for along in zip(*steps, strict=True)]}"]
        said += [f"network.net.{key}={net[key]}" for key in _TOPOLOGY if key in net]
        quoted = " ".join(f"'{text.replace(' ', '')}'" for text in said)
        few = "" if levels > 3 else " network.net.deep_supr_num=1"
        if net["_target_"].endswith("ResEncUNet"):
            return f"network=resenc {quoted}{few}"
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
    adapting = _told(path, told, "nnssl_adaptation_plan", "adaptation_plan.json")
    plans = adapting.get("pretrain_plan") or _told(path, told, "init_args.plans", "plans.json")
    dataset = {} if adapting else _told(path, told, "init_args.dataset_json", "dataset.json")
    order = value_at(plans, "transpose_forward", [0, 1, 2])
    if not isinstance(order, list) or sorted(map(str, order)) != ["0", "1", "2"]:
        raise ForeignError(f"{path}: its plans have the transpose_forward {order!r}")
    order = [int(axis) for axis in order]
    alone = bool(adapting) or not any(name.startswith("decoder.stages.") for name in weights)
    if alone:
        weights = {name: value for name, value in weights.items() if name.startswith("encoder.")}
    named = _turned(path, weights, [order.index(2 - axis) for axis in range(3)])
    if any(name.startswith("encoder.stem.") for name in weights):
        named, net = residual(path, named, alone)
        first, last = "stem.conv.weight", "heads.0.weight"
    elif alone:
        raise other(path, "an encoder alone, without residuals")
    else:
        named, net = plain(path, named)
        first, last = "input_block.conv1.conv.weight", "output_block.conv.conv.weight"
    if lost := [name for name in (first, *([] if alone else [last])) if name not in named]:
        raise other(path, f"no {lost[0]}")
    images = named[first].shape[1]
    given = None if alone else named[last]
    config = {"name": "nnunet", "divisor": 1, "net": net}
    try:
        with weighing(weights):
            network = build_network(config, images, 1 if given is None else len(given), (2, 2, 2))
        network = getattr(network, "network", network)  # without what lists its heads
        there = network.state_dict()
        named = {name: wider(value, there.get(name, value)) for name, value in named.items()}
        lacking, more = network.load_state_dict(named, strict=False)
    except (NetworkError, RuntimeError) as error:
        raise other(path, str(error)) from None
    drawn = ("up.", "decoder.", "heads.") if alone else ("skip_layers.",)
    lacking = [name for name in lacking if not name.startswith(drawn)]
    if lacking or more:
        raise other(path, f"weights {', '.join([*lacking, *more][:3])}")
    if given is None:
        return NnUNet(named, net, (PRETRAINED,) if images == 1 else None, None)
    space = _space(path, dataset, given)
    return NnUNet(network.state_dict(), net, _images(dataset, images), space)


def _told(path: Path, told: Mapping[str, Any], key: str, name: str) -> dict[str, Any]:
    """Return plans or a description of data: of the checkpoint, or beside it or its fold."""
    found = value_at(told, key)
    folder = path.resolve().parent
    for beside in (folder.parent / name, folder / name):
        if found is None and beside.is_file():
            found = read_json(beside, within=folder.parent)
    require_plain(found, f"{path}, {key}")
    require_values(found, f"{path}, {key}")
    return found if isinstance(found, dict) else {}


def _turned(path: Path, weights: Mapping[str, Tensor], along: list[int]) -> dict[str, Tensor]:
    """Return the weights that count, each under one name, along X, Y, Z."""
    found = {name: value for name, value in weights.items() if not _SAME.match(name)}
    for name, value in found.items():
        if value.ndim not in (1, 5):
            raise other(path, f"{name} of {value.ndim - 2} dimensions")
        if value.ndim == 5:
            found[name] = value.permute(0, 1, *(2 + axis for axis in along)).contiguous()
    return found


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
