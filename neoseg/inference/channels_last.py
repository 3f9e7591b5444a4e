"""A 3D network on a CPU with its channels last: the same function in half the time.

PyTorch rearranges the input and output of each convolution for the CPU's convolution library,
which costs as much as the convolutions themselves, unless the channels come last in memory. Two
kinds of layers undo that order: convolutions of small inputs, which PyTorch gives to a slower
routine, and instance normalisation. Group normalisation keeps it, but adds up all voxels of a
channel in one float32 number, with errors of 1e-3. Here the three work on channels-last memory and
as exactly as in the usual order.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

_TILE = 2**21

_NORMALISATIONS = (nn.InstanceNorm3d, nn.GroupNorm)
_KNOWN = frozenset(
    [
        *(nn.Conv3d, nn.ConvTranspose3d, nn.BatchNorm3d, *_NORMALISATIONS),
        *(nn.ReLU, nn.LeakyReLU, nn.PReLU, nn.ELU, nn.GELU, nn.SiLU, nn.Mish, nn.Sigmoid),
        *(nn.Dropout, nn.Dropout3d, nn.Identity, nn.MaxPool3d, nn.AvgPool3d, nn.Upsample),
    ]
)
"""Layers that are as exact with channels last; a network with others stays as it is."""


@contextmanager
def channels_last(network: object, device: torch.device) -> Iterator[torch.memory_format]:
    """Prepare a network for float32 windows in the memory format that is yielded.

    That is the usual one where the network is not a 3D network of known layers on a CPU.
    """
    with ExitStack() as stack:
        if not isinstance(network, nn.Module) or not _gains(network, device):
            yield torch.contiguous_format
            return
        for module in network.modules():
            forward = _forward(module)
            if forward is not None:
                stack.enter_context(replaced_forward(module, forward))
        yield torch.channels_last_3d


def _gains(network: nn.Module, device: torch.device) -> bool:
    if device.type != "cpu" or not torch.backends.mkldnn.is_available() or is_compiled(network):
        return False
    layers = [m for m in network.modules() if next(m.children(), None) is None]
    return all(type(m) in _KNOWN for m in layers) and any(type(m) is nn.Conv3d for m in layers)


def _forward(module: nn.Module) -> Callable[[Tensor], Tensor] | None:
    """Return what a layer computes instead of its own forward function, if anything."""
    if type(module) is nn.Conv3d and module.padding_mode == "zeros":
        return None if isinstance(module.padding, str) else partial(_convolve, module)
    if type(module) is nn.InstanceNorm3d and not module.track_running_stats:
        return partial(_instance_norm, module)
    return partial(_group_norm, module) if type(module) is nn.GroupNorm else None


def _convolve(layer: nn.Conv3d, image: Tensor) -> Tensor:
    if not _is_batch(image):
        return nn.Conv3d.forward(layer, image)
    result = torch.mkldnn_convolution(
        _last(image),
        layer.weight,
        layer.bias,
        layer.padding,  # type: ignore[arg-type]  # no text, see above
        layer.stride,
        layer.dilation,
        layer.groups,
    )
    # The order of a single channel is both; the result may have either.
    return _last(result)


def _instance_norm(layer: nn.InstanceNorm3d, image: Tensor) -> Tensor:
    if not _is_batch(image):
        return nn.InstanceNorm3d.forward(layer, image)
    return normalise(_last(image), image.shape[1], layer.weight, layer.bias, layer.eps)


def _group_norm(layer: nn.GroupNorm, image: Tensor) -> Tensor:
    if not _is_batch(image):
        return nn.GroupNorm.forward(layer, image)
    return normalise(_last(image), layer.num_groups, layer.weight, layer.bias, layer.eps)


def _is_batch(image: Tensor) -> bool:
    return image.ndim == 5 and image.dtype == torch.float32


def _last(image: Tensor) -> Tensor:
    return image.contiguous(memory_format=torch.channels_last_3d)


def normalise(
    image: Tensor, groups: int, weight: Tensor | None, bias: Tensor | None, epsilon: float
) -> Tensor:
    """Normalise groups of channels to mean 0 and deviation 1, then scale and shift each channel.

    Args:
        image: float32 `[B, C, X, Y, Z]` with channels last in memory, which the result has too.
        groups: a divisor of C; C itself is instance normalisation.
        weight: `[C]`, or None for ones.
        bias: `[C]`, or None for zeros.
        epsilon: added to the variance.
    """
    batch, channels, x, y, z = image.shape
    # Long rows of whole lines keep the inner loops long, whatever the number of channels.
    rows = image.movedim(1, -1).reshape(batch, x * y, z * channels)

    def mean_of(sums: Tensor) -> Tensor:
        """Return for each channel `[B, C]` the mean over its group."""
        grouped = sums.view(batch, z, groups, -1).sum(dim=(1, 3))
        mean = grouped / (image[0].numel() // groups)
        return mean.repeat_interleave(channels // groups, dim=1)

    def along(values: Tensor) -> Tensor:
        return values.repeat(1, z)[:, None]

    mean = mean_of(rows.sum(dim=1))
    squares = torch.zeros_like(rows[:, 0])
    for part in rows.split(max(1, _TILE // rows.shape[2]), dim=1):
        difference = part - along(mean)
        squares += difference.mul_(difference).sum(dim=1)
    scale = (mean_of(squares) + epsilon).rsqrt()
    if weight is not None:
        scale = scale * weight
    shift = -mean * scale
    if bias is not None:
        shift = shift + bias
    result = torch.addcmul(along(shift), rows, along(scale))
    return result.view(batch, x, y, z, channels).movedim(-1, 1)


@contextmanager
def replaced_forward(module: nn.Module, forward: Callable[..., Tensor]) -> Iterator[None]:
    """Let `module` compute `forward`; weights, hooks and the class of the module stay."""
    own: dict[str, Any] = module.__dict__
    before = own.get("forward")
    own["forward"] = forward
    try:
        yield
    finally:
        if before is None:
            del own["forward"]
        else:
            own["forward"] = before


def is_compiled(network: nn.Module) -> bool:
    """Tell whether torch.compile has seen the network, which a change would start once more."""
    return any(getattr(m, "_compiled_call_impl", None) is not None for m in network.modules())
