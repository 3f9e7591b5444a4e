"""Build a network from its configuration and check that it fits the patch."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from inspect import Parameter, signature
from typing import Any

from torch import Tensor, nn
from torch.nn.modules.module import (
    register_module_buffer_registration_hook,
    register_module_parameter_registration_hook,
)

from neoseg.buildable import (
    NETWORKS,
    TargetError,
    build,
    data_only,
    find_object,
    is_class,
    require_targets,
)
from neoseg.errors import NeosegError
from neoseg.findings.nearest import nearest
from neoseg.networks.deep_supervision import with_head_list
from neoseg.networks.slicewise import SliceWise

_MONAI = (
    *("AttentionUnet", "BasicUNet", "BasicUNetPlusPlus", "DAF3D", "DynUNet", "HighResNet"),
    *("MedNeXt", "RegUNet", "SegResNet", "SegResNetDS", "SegResNetDS2", "SegResNetVAE"),
    *("SwinUNETR", "UNETR", "UNet", "VNet"),
)
_LAYERS = (
    *("BatchNorm2d", "BatchNorm3d", "GroupNorm", "InstanceNorm2d", "InstanceNorm3d", "LayerNorm"),
    *("CELU", "ELU", "GELU", "Identity", "LeakyReLU", "Mish", "PReLU", "ReLU", "SELU", "SiLU"),
    *("Conv2d", "Conv3d", "ConvTranspose2d", "ConvTranspose3d"),
    *("Dropout", "Dropout2d", "Dropout3d"),
)
ALLOWED_TARGETS = (
    *("neoseg.networks.segformer.SegFormer", "neoseg.networks.slicewise.SliceWise"),
    *("neoseg.networks.resenc.ResEncUNet", "neoseg.networks.summed_heads.SummedHeads"),
    *("neoseg.networks.unet2d.InputNormalisation", "neoseg.networks.unet2d.UNet2d"),
    *(f"monai.networks.nets.{name}" for name in _MONAI),
    *(f"torch.nn.{name}" for name in _LAYERS),
)
"""Classes that a configuration, including one from a checkpoint, may instantiate; none of them
loads weights named by a setting, or does anything but compute."""

KEYS = {"name", "divisor", "net"}

MAX_NUMBER = 2**20
"""Largest magnitude of a number in the settings of a network."""


class NetworkError(NeosegError):
    """A network configuration that cannot be built, or that does not fit the patch."""


def build_network(
    config: Mapping[str, Any],
    in_channels: int,
    out_channels: int,
    patch_size: Sequence[int],
    allow: Sequence[str] = (),
) -> nn.Module:
    """Build the network of `conf/network/<name>.yaml`.

    Args:
        config: `name`; `divisor`, of which the patch size must be a multiple, one number or one per
            axis; `net`, a `_target_` with its settings, which also gets `in_channels` and
            `out_channels`. A 2D network is wrapped in `neoseg.networks.slicewise.SliceWise`.
        in_channels: number of modalities M.
        out_channels: number of head channels N.
        patch_size: voxels along X, Y, Z.
        allow: packages that `_target_` may refer to, in addition to `ALLOWED_TARGETS`.

    Returns:
        A module that maps `[B, M, X, Y, Z]` to logits `[B, N, X, Y, Z]` or, in training with deep
        supervision, to a list of logits, highest resolution first.

    Raises:
        NetworkError: an invalid key or target, or a patch size that does not fit, with the nearest
            sizes that do.
    """
    name, divisors, net = _read(config)
    _require_allowed(name, net, allow)
    try:
        with data_only():
            network = build(net | {"in_channels": in_channels, "out_channels": out_channels})
    except Exception as error:  # the class may raise anything
        raise NetworkError(
            f"network '{name}' cannot be built from {net['_target_']}: {error}; correct its "
            "settings under `network.net`"
        ) from error
    if not isinstance(network, nn.Module):
        raise NetworkError(
            f"network '{name}': {net['_target_']} gives {type(network).__name__}, expected a torch "
            "module; remove `_partial_` at the top of `network.net`, or name a class"
        )
    _check_patch(name, divisors, tuple(patch_size), flat=isinstance(network, SliceWise))
    return with_head_list(network)


@contextmanager
def weighing(weights: Mapping[str, Any]) -> Iterator[None]:
    """Limit networks built within the block to about twice the number of weights in a checkpoint.

    Raises:
        NetworkError: from `build_network`, at the first weight beyond the limit.
    """
    remaining = 2 * sum(getattr(value, "numel", int)() for value in weights.values()) + 2**16

    def count(module: nn.Module, name: str, value: Tensor | None) -> None:
        nonlocal remaining
        remaining -= 0 if value is None else value.numel()
        if remaining < 0:
            raise ValueError("it has more weights than its checkpoint holds")

    hooks = (
        register_module_parameter_registration_hook(count),
        register_module_buffer_registration_hook(count),
    )
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def check_network(
    config: Mapping[str, Any], patch_size: Sequence[int], allow: Sequence[str] = ()
) -> None:
    """Check a `conf/network` entry as `build_network` does, without building anything.

    Raises:
        NetworkError: as `build_network`, or a setting that a class does not have.
    """
    name, divisors, net = _read(config)
    _require_allowed(name, net, allow)
    _require_settings(name, net, "network.net")
    flat = find_object(net["_target_"]) is SliceWise
    _check_patch(name, divisors, tuple(patch_size), flat)


def _require_allowed(name: str, net: Any, allow: Sequence[str]) -> None:
    try:
        require_targets(net, ALLOWED_TARGETS, is_class, "class", NETWORKS, allow)
    except TargetError as error:
        raise NetworkError(f"network '{name}': {error}") from None


def _require_settings(name: str, node: Any, place: str) -> None:
    """Raise `NetworkError` for a key that the class of its `_target_` does not accept."""
    if not isinstance(node, dict):
        return
    if "_target_" in node:
        parameters = signature(find_object(node["_target_"])).parameters
        accepts_any = any(p.kind is Parameter.VAR_KEYWORD for p in parameters.values())
        for key in node:
            if key not in parameters and not accepts_any and not str(key).startswith("_"):
                raise NetworkError(
                    f"network '{name}': {node['_target_']} has no setting '{key}' "
                    f"({place}.{key}){nearest(key, parameters)}"
                )
    for key, child in node.items():
        _require_settings(name, child, f"{place}.{key}")


def divisors_of(config: Mapping[str, Any]) -> tuple[int, int, int]:
    """Return the divisors of the patch size along X, Y, Z; raises `NetworkError`."""
    divisor = config.get("divisor", 1)
    divisors = [divisor] * 3 if isinstance(divisor, int) else divisor
    positive = isinstance(divisors, list | tuple) and all(
        type(n) is int and n > 0 for n in divisors
    )
    if not positive or len(divisors) != 3:
        raise NetworkError(
            f"network '{config.get('name')}': divisor {divisor!r} must be a whole number from 1 "
            "up, or one for each of X, Y, Z: the product of the strides"
        )
    return divisors[0], divisors[1], divisors[2]


def _read(config: Mapping[str, Any]) -> tuple[str, tuple[int, int, int], dict[str, Any]]:
    """Return name, divisors and `net` of a configuration after checking its keys."""
    keys = set(config)
    if keys != KEYS:
        raise NetworkError(
            f"a network configuration has the keys {', '.join(sorted(KEYS))}; "
            f"missing: {', '.join(sorted(KEYS - keys)) or 'none'}, "
            f"unknown: {', '.join(sorted(map(str, keys - KEYS))) or 'none'}"
        )
    name, net = config["name"], config["net"]
    if not isinstance(net, dict) or "_target_" not in net:
        raise NetworkError(
            f"network '{name}': `net` must name its class as `_target_`, found {net!r}"
        )
    _require_small(str(name), net)
    return str(name), divisors_of(config), net


def _require_small(name: str, node: Any) -> None:
    """Raise `NetworkError` for a number so large that a class might allocate too much memory."""
    if isinstance(node, dict | list | tuple):
        for child in node.values() if isinstance(node, dict) else node:
            _require_small(name, child)
    elif isinstance(node, int | float) and abs(node) > MAX_NUMBER:
        raise NetworkError(
            f"network '{name}': a setting is {node}, expected numbers up to {MAX_NUMBER}"
        )


def _check_patch(
    name: str, divisors: tuple[int, int, int], size: tuple[int, ...], flat: bool
) -> None:
    """Raise `NetworkError` if the network does not accept patches of this size."""
    if len(size) != 3 or min(size) < 1:
        raise NetworkError(f"patch size {list(size)} must be three whole numbers from 1 up")
    ones = size.count(1)
    if flat and ones != 1:
        raise NetworkError(
            f"network '{name}' is 2D and needs a patch with exactly one axis of size 1, found "
            f"{list(size)}; for sagittal slices use [1, {size[1]}, {size[2]}], or choose a 3D "
            "network"
        )
    if not flat and ones:
        raise NetworkError(
            f"network '{name}' is 3D and needs a patch without an axis of size 1, found "
            f"{list(size)}; enlarge the patch, or choose a 2D network, for scans of a single slice "
            f"network=unet2d 'patches.size=[{', '.join(map(str, size))}]'"
        )
    axes = [axis for axis in range(3) if not (flat and size[axis] == 1)]
    wrong_axes = [axis for axis in axes if size[axis] % divisors[axis]]
    if wrong_axes:
        suggestions = "; ".join(
            f"{'XYZ'[a]} {size[a]}: use {_nearest_multiples(size[a], divisors[a])}"
            for a in wrong_axes
        )
        uniform = len(set(divisors)) == 1
        multiple = divisors[0] if uniform else f"{list(divisors)}, one of them"
        raise NetworkError(
            f"network '{name}' needs a patch that is a multiple of {multiple} along each axis, "
            f"found {list(size)}; {suggestions}"
        )
    if max(divisors) > 1 and all(size[axis] == divisors[axis] for axis in axes):
        raise NetworkError(
            f"network '{name}' shrinks a patch of {list(size)} to a single voxel, which cannot be "
            f"normalised; make at least one axis {2 * max(divisors)} or longer, or take fewer "
            "levels"
        )


def _nearest_multiples(length: int, divisor: int) -> str:
    """Return the multiples below and above as text, as in "48 or 64"."""
    below = length // divisor * divisor
    return f"{below} or {below + divisor}" if below else str(divisor)
