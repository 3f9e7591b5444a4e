"""Map layers of nnU-Net's U-Nets to those of networks here, and derive the networks' settings.

The plain U-Net becomes MONAI's `DynUNet`, the one with a residual encoder `ResEncUNet`. Weights
have nnU-Net's names and are along X, Y, Z.
"""

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from torch import Tensor
from torch.nn.functional import pad

from neoseg.foreign import ForeignError

_N = r"(\d{1,3})"
"""A number of a level or layer, short enough for a name of a stranger."""
_BLOCK = re.compile(rf"(encoder|decoder)\.stages\.{_N}\.(?:0\.)?convs\.{_N}\.(conv|norm)\.(\w+)")
_UP = re.compile(rf"decoder\.(transpconvs|seg_layers)\.{_N}\.(\w+)")

_LAYER = r"((?:conv|norm)\.\w+)"
_BLOCKS = rf"encoder\.stages\.{_N}\.blocks\."
_RESIDUAL = (
    (rf"encoder\.stem\.convs\.0\.{_LAYER}", r"stem.\1"),
    (rf"{_BLOCKS}{_N}\.(conv[12])\.{_LAYER}", r"encoder.\1.\2.\3.\4"),
    (rf"{_BLOCKS}0\.skip\.[01]\.{_LAYER}", r"encoder.\1.0.beside.\2"),
    (rf"decoder\.stages\.{_N}\.convs\.{_N}\.{_LAYER}", r"decoder.\1.\2.\3"),
    (rf"decoder\.transpconvs\.{_N}\.(\w+)", r"up.\1.\2"),
    (rf"decoder\.seg_layers\.{_N}\.(\w+)", r"heads.\1.\2"),
)


def other(path: Path, what: str) -> ForeignError:
    """Return the error for a file with another architecture."""
    return ForeignError(
        f"{path} has {what}, so it is another network than nnU-Net's plain 3D U-Net of two "
        "convolutions a level, or its 3D U-Net with a residual encoder, both with instance norm; "
        "its others are not read"
    )


def plain(path: Path, weights: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Return the weights and settings of a `DynUNet`; raises `ForeignError` for other networks."""
    levels = 1 + max((int(match[2]) for match in map(_BLOCK.match, weights) if match), default=0)
    named = {_plain_name(path, name, levels): value for name, value in weights.items()}
    ups = sum(name.endswith(".transp_conv.conv.weight") for name in named)
    blocks = ["input_block", *(f"downsamples.{n}" for n in range(ups - 1)), "bottleneck"]
    try:
        kernels = [named[f"{block}.conv1.conv.weight"].shape for block in blocks]
        strides = [
            list(named[f"upsamples.{n}.transp_conv.conv.weight"].shape[2:])
            for n in reversed(range(ups))
        ]
    except KeyError as error:
        raise other(path, f"no {error.args[0]}") from None
    if ups < 2:
        raise other(path, f"{ups + 1} levels")
    return named, {
        "_target_": "monai.networks.nets.DynUNet",
        "spatial_dims": 3,
        "kernel_size": [list(shape[2:]) for shape in kernels],
        "strides": [[1, 1, 1], *strides],
        "upsample_kernel_size": strides,
        "filters": [shape[0] for shape in kernels],
        "norm_name": ["INSTANCE", {"affine": True}],
        "act_name": ["leakyrelu", {"negative_slope": 0.01, "inplace": True}],
        "deep_supervision": True,
        "deep_supr_num": ups - 1,
        "trans_bias": "upsamples.0.transp_conv.conv.bias" in named,
    }


def _plain_name(path: Path, name: str, levels: int) -> str:
    if block := _BLOCK.fullmatch(name):
        part, kind, parameter = block[1], block[4], block[5]
        stage, number = int(block[2]), int(block[3]) + 1
        if part == "decoder":
            module = f"upsamples.{stage}.conv_block"
        elif stage in (0, levels - 1):
            module = "bottleneck" if stage else "input_block"
        else:
            module = f"downsamples.{stage - 1}"
        return f"{module}.{kind}{number}.{'conv.' if kind == 'conv' else ''}{parameter}"
    if up := _UP.fullmatch(name):
        level = levels - 2 - int(up[2])
        if up[1] == "transpconvs":
            return f"upsamples.{up[2]}.transp_conv.conv.{up[3]}"
        module = f"deep_supervision_heads.{level - 1}" if level else "output_block"
        return f"{module}.conv.conv.{up[3]}"
    raise other(path, name)


def residual(
    path: Path, weights: Mapping[str, Tensor], encoder_only: bool
) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Return the weights and settings of a `ResEncUNet`; raises `ForeignError` for other networks.

    Strides are read from the decoder; without one they are set to 2.
    """
    named: dict[str, Tensor] = {}
    ups = _count(weights, r"decoder\.transpconvs\.\d+\.weight")
    for name, value in weights.items():
        renamed = [
            re.sub(f"{old}$", new, name) for old, new in _RESIDUAL if re.fullmatch(old, name)
        ]
        if not renamed:
            raise other(path, name)
        module, *level = renamed[0].split(".")
        if module == "heads":  # here the finest comes first
            level[0] = str(ups - 1 - int(level[0]))
        named[".".join([module, *level])] = value
    levels = _count(named, r"encoder\.\d+\.0\.conv1\.conv\.weight")
    if levels < 3 or not (encoder_only or ups == levels - 1):
        raise other(path, f"{levels} levels of an encoder and {ups} of a decoder")
    blocks = [_count(named, rf"encoder\.{n}\.\d+\.conv1\.conv\.weight") for n in range(levels)]
    try:
        kernels = [named[f"encoder.{n}.0.conv1.conv.weight"].shape for n in range(levels)]
        steps = [named[f"up.{n}.weight"].shape[2:] for n in reversed(range(ups))]
    except KeyError as error:
        raise other(path, f"no {error.args[0]}") from None
    for n in range(ups):  # nnU-Net may be trained without these biases
        named.setdefault(f"up.{n}.bias", named[f"up.{n}.weight"].new_zeros(kernels[ups - 1 - n][0]))
    return named, {
        "_target_": "neoseg.networks.resenc.ResEncUNet",
        "kernel_size": [list(shape[2:]) for shape in kernels],
        "strides": [[1, 1, 1], *map(list, steps)] if steps else 2,
        "filters": [shape[0] for shape in kernels],
        "blocks": blocks,
        "decoder_convs": _count(named, r"decoder\.0\.\d+\.conv\.weight") or 1,
        "deep_supervision": True,
        "deep_supr_num": levels - 2,
    }


def _count(names: Iterable[str], pattern: str) -> int:
    return sum(bool(re.fullmatch(pattern, name)) for name in names)


def wider(value: Tensor, fresh: Tensor) -> Tensor:
    """Zero-pad a flat kernel to the size of `fresh`, since MONAI's up path uses larger ones."""
    margin = [n - size for n, size in zip(fresh.shape, value.shape, strict=True)]
    if value.ndim < 5 or any(margin[:2]) or min(margin) < 0 or any(n % 2 for n in margin):
        return value
    return pad(value, [n // 2 for n in reversed(margin[2:]) for _ in "12"])
