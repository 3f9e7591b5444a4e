"""Apply the last layer of a network after blending instead of in each window.

A segmentation network ends in a pointwise convolution that maps F features to N logits. It is
linear, and the weights of the windows that cover a voxel sum to one, so blending the features and
convolving once gives the same logits as blending the logits of all windows. With 88 structures and
32 features this saves most of the memory and of the additions.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from neoseg.borrowed import changes_of
from neoseg.inference.channels_last import is_compiled

_CONVOLUTIONS = (nn.Conv2d, nn.Conv3d)


@dataclass(frozen=True)
class Projection:
    """Logits as a linear function of features: `matrix` `[N, F]` and `bias` `[N]`, float32."""

    matrix: Tensor
    bias: Tensor

    @classmethod
    def of(cls, layer: nn.Module, partners: list[int] | None, device: torch.device) -> Projection:
        """Create from a layer; with `partners`, features are followed by those of the mirror image.

        Logit n of a window is then the mean of its own and of logit `partners[n]` of the mirror
        image.
        """
        assert isinstance(layer, _CONVOLUTIONS)
        matrix = layer.weight.detach().flatten(1).float()
        bias = matrix.new_zeros(len(matrix)) if layer.bias is None else layer.bias.detach().float()
        if partners is not None:
            matrix = torch.cat([matrix, matrix[partners]], dim=1) / 2
            bias = (bias + bias[partners]) / 2
        return cls(matrix.to(device), bias.to(device))

    def __call__(self, features: Tensor) -> Tensor:
        """Return logits `[N, *S]` of features `[F, *S]`, channels last in memory."""
        voxels = features.movedim(0, -1)
        rows = voxels.reshape(-1, voxels.shape[-1]).float()
        logits = torch.addmm(self.bias, rows, self.matrix.T)
        return logits.view(*voxels.shape[:-1], -1).movedim(-1, 0)


@dataclass
class _Call:
    layer: nn.Module
    features: Tensor
    logits: Tensor
    version: int


def find_last_layer(
    network: object, run: Callable[[], Tensor], channels: int
) -> tuple[Tensor, nn.Module | None, Tensor | None]:
    """Run a network once; return its logits, the layer that computed them, and its input.

    Layer and input are None if the logits are not the unmodified output of one pointwise
    convolution to `channels`; then the logits themselves have to be blended.
    """
    calls: list[_Call] = []

    def record(layer: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        calls.append(_Call(layer, inputs[0], output, changes_of(output)))

    traceable = isinstance(network, nn.Module) and not is_compiled(network)
    layers = [m for m in network.modules() if _is_pointwise(m, channels)] if traceable else []  # type: ignore[attr-defined]
    hooks = [layer.register_forward_hook(record) for layer in layers]
    try:
        logits = run()
    finally:
        for hook in hooks:
            hook.remove()
    sources = [call for call in calls if _is_unmodified(call, logits)]
    if len(sources) != 1 or sum(call.layer is sources[0].layer for call in calls) != 1:
        return logits, None, None
    missing_axes = logits.ndim - sources[0].features.ndim
    features = sources[0].features
    if missing_axes:  # a 2D network in a 3D batch: restore the axis of length one
        axis = next(a for a in range(2, logits.ndim) if logits.shape[a] == 1)
        features = features.unsqueeze(axis)
    return logits, sources[0].layer, features


def _is_pointwise(layer: nn.Module, channels: int) -> bool:
    return (
        type(layer) in _CONVOLUTIONS
        and isinstance(layer, _CONVOLUTIONS)
        and layer.out_channels == channels
        and layer.groups == 1
        and set(layer.kernel_size) == {1}
        and set(layer.stride) == {1}
        and (layer.padding in ("same", "valid") or set(layer.padding) == {0})
    )


def _is_unmodified(call: _Call, logits: Tensor) -> bool:
    """Return whether `logits` are the unmodified output of a layer, up to axes of length one."""
    output = call.logits
    return (
        output.data_ptr() == logits.data_ptr()
        and changes_of(output) == call.version
        and _long_axes(output) == _long_axes(logits)
    )


def _long_axes(tensor: Tensor) -> list[tuple[int, int]]:
    pairs = zip(tensor.shape, tensor.stride(), strict=True)
    return [(length, step) for length, step in pairs if length > 1]
