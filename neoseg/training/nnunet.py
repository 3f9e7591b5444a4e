"""Load nnU-Net's 3D U-Nets from its checkpoints into networks that compute the same.

Of networks pretrained with nnssl only the encoder is loaded, following its adaptation plan, since
the decoder was trained to restore images. nnU-Net's axes are Z, Y, X, transposed as its plans
say; here weights are along X, Y, Z. Biases of convolutions before an instance norm, which cancels
them, are dropped.
"""

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

_REDUNDANT = re.compile(r"decoder\.encoder\.|.*\.all_modules\.|.*\.conv\.bias$")
"""Weights that duplicate others under a second name, or do not affect the output."""

_TOPOLOGY = (
    *("kernel_size", "strides", "upsample_kernel_size", "filters"),
    *("blocks", "decoder_convs"),
)

PRETRAINED = "the image of its pretraining"


@dataclass(frozen=True)
class NnUNet:
    """A network of nnU-Net.

    Attributes:
        weights: `state_dict` of the class in `net`, or only the part of its encoder.
        net: a class and its settings, along X, Y, Z.
        images: names of its input channels; None if the file does not record them.
        space: its output channels, leaf by leaf; None if the file does not record them, or if they
            are regions.
    """

    weights: dict[str, Tensor]
    net: dict[str, Any]
    images: tuple[str, ...] | None
    space: LabelSpace | None

    @property
    def options(self) -> str:
        """Command-line options that configure this network in a run."""
        net, levels = self.net, len(self.net["filters"])
        strides = net["strides"]  # 2 if there is only an encoder
        strides = (
            [[1] * 3, *[[strides] * 3] * (levels - 1)] if isinstance(strides, int) else strides
        )
        options = [f"network.divisor={[math.prod(along) for along in zip(*strides, strict=True)]}"]
        options += [f"network.net.{key}={net[key]}" for key in _TOPOLOGY if key in net]
        quoted = " ".join(f"'{text.replace(' ', '')}'" for text in options)
        few = "" if levels > 3 else " network.net.deep_supr_num=1"
        if net["_target_"].endswith("ResEncUNet"):
            return f"network=resenc {quoted}{few}"
        return f"network=unet3d_large {quoted}{few} +network.net.trans_bias=true"


def is_nnunet(weights: Mapping[str, Tensor]) -> bool:
    """Return whether weights have nnU-Net's names."""
    return any(name.startswith(("encoder.stages.", "encoder.stem.")) for name in weights)


def nnunet_of(path: Path, weights: Mapping[str, Tensor], told: Mapping[str, Any]) -> NnUNet:
    """Load the network of a checkpoint.

    Args:
        path: of the checkpoint; its fold's folder may be next to `plans.json` and `dataset.json`.
        weights: as nnU-Net names them.
        told: the rest of the checkpoint's content, which may include more than plain values.

    Raises:
        ForeignError: another architecture, or damaged files.
    """
    adaptation = _metadata(path, told, "nnssl_adaptation_plan", "adaptation_plan.json")
    plans = adaptation.get("pretrain_plan") or _metadata(
        path, told, "init_args.plans", "plans.json"
    )
    dataset = {} if adaptation else _metadata(path, told, "init_args.dataset_json", "dataset.json")
    order = value_at(plans, "transpose_forward", [0, 1, 2])
    if not isinstance(order, list) or sorted(map(str, order)) != ["0", "1", "2"]:
        raise ForeignError(f"{path}: its plans have the transpose_forward {order!r}")
    order = [int(axis) for axis in order]
    encoder_only = bool(adaptation) or not any(
        name.startswith("decoder.stages.") for name in weights
    )
    if encoder_only:
        weights = {name: value for name, value in weights.items() if name.startswith("encoder.")}
    named = _canonical(path, weights, [order.index(2 - axis) for axis in range(3)])
    if any(name.startswith("encoder.stem.") for name in weights):
        named, net = residual(path, named, encoder_only)
        first, last = "stem.conv.weight", "heads.0.weight"
    elif encoder_only:
        raise other(path, "an encoder alone, without residuals")
    else:
        named, net = plain(path, named)
        first, last = "input_block.conv1.conv.weight", "output_block.conv.conv.weight"
    if absent := [name for name in (first, *([] if encoder_only else [last])) if name not in named]:
        raise other(path, f"no {absent[0]}")
    images = named[first].shape[1]
    head = None if encoder_only else named[last]
    config = {"name": "nnunet", "divisor": 1, "net": net}
    try:
        with weighing(weights):
            network = build_network(config, images, 1 if head is None else len(head), (2, 2, 2))
        network = getattr(network, "network", network)  # without its `HeadList` wrapper
        fresh = network.state_dict()
        named = {name: wider(value, fresh.get(name, value)) for name, value in named.items()}
        missing, unexpected = network.load_state_dict(named, strict=False)
    except (NetworkError, RuntimeError) as error:
        raise other(path, str(error)) from None
    drawn = ("up.", "decoder.", "heads.") if encoder_only else ("skip_layers.",)
    missing = [name for name in missing if not name.startswith(drawn)]
    if missing or unexpected:
        raise other(path, f"weights {', '.join([*missing, *unexpected][:3])}")
    if head is None:
        return NnUNet(named, net, (PRETRAINED,) if images == 1 else None, None)
    space = _space(path, dataset, head)
    return NnUNet(network.state_dict(), net, _images(dataset, images), space)


def _metadata(path: Path, told: Mapping[str, Any], key: str, name: str) -> dict[str, Any]:
    """Return plans or a dataset description from the checkpoint, or from a file near it."""
    value = value_at(told, key)
    folder = path.resolve().parent
    for beside in (folder.parent / name, folder / name):
        if value is None and beside.is_file():
            value = read_json(beside, within=folder.parent)
    require_plain(value, f"{path}, {key}")
    require_values(value, f"{path}, {key}")
    return value if isinstance(value, dict) else {}


def _canonical(path: Path, weights: Mapping[str, Tensor], axes: list[int]) -> dict[str, Tensor]:
    """Drop redundant weights and permute kernels to the axis order X, Y, Z."""
    canonical = {name: value for name, value in weights.items() if not _REDUNDANT.match(name)}
    for name, value in canonical.items():
        if value.ndim not in (1, 5):
            raise other(path, f"{name} of {value.ndim - 2} dimensions")
        if value.ndim == 5:
            canonical[name] = value.permute(0, 1, *(2 + axis for axis in axes)).contiguous()
    return canonical


def _images(dataset: Mapping[str, Any], count: int) -> tuple[str, ...] | None:
    names = dataset.get("channel_names") or dataset.get("modality")
    if not isinstance(names, dict) or set(names) != {str(n) for n in range(count)}:
        return None
    return tuple(str(names[str(n)]) for n in range(count))


def _space(path: Path, dataset: Mapping[str, Any], head: Tensor) -> LabelSpace | None:
    """Return the label space of the output channels; None unless each is a label."""
    if "labels" not in dataset:
        return None
    problems = Problems()
    named, regions = named_labels(dataset, path, problems)
    problems.settle(f"label names in '{path}'")
    if regions or len(named) != len(head):
        return None
    return LabelSpace.from_table(LabelTable.parse(draft("nnunet", named)))
