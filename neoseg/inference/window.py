"""Whole-volume prediction by a sliding window."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Annotated, Literal

import numpy as np
import torch
from monai.inferers import sliding_window_inference
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn
from torch.nn.functional import pad

from neoseg.networks import Head

LEFT_RIGHT = 2
"""Dimension of a batch `[B, M, X, Y, Z]` along which left and right lie (canonical RAS+)."""

_SLAB_VALUES = 2**26
_DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}


class WindowSettings(BaseModel):
    """How a volume is covered by windows.

    Attributes:
        patch_size: window in voxels; 1 along an axis means a slice-wise network, whose windows
            never overlap along that axis.
        overlap: share of the window that neighbours have in common, 0 to below 1.
        batch_size: windows per forward pass.
        mode: weight of a window's voxels; "gaussian" trusts its centre more.
        mirror: average each window with its left-right mirror image.
        pad_value: what surrounds a volume that is smaller than the window, in units of the
            prepared image; None repeats its border, as training patches do.
        precision: of the forward pass; below float32 by autocast.
        accumulate: number type of the summed logits; float16 halves the memory of many classes, and
            is slow on a CPU.
        accumulate_on: "device" of the network, or "cpu" where its memory is too small.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    patch_size: tuple[Annotated[int, Field(ge=1)], ...] = Field(min_length=3, max_length=3)
    overlap: float = Field(default=0.5, ge=0, lt=1)
    batch_size: int = Field(default=1, ge=1)
    mode: Literal["gaussian", "constant"] = "gaussian"
    mirror: bool = False
    pad_value: float | None = None
    precision: Literal["float32", "float16", "bfloat16"] = "float32"
    accumulate: Literal["float32", "float16"] = "float32"
    accumulate_on: Literal["device", "cpu"] = "device"


def predict_volume(
    network: Callable[[Tensor], Tensor],
    image: Tensor,
    head: Head,
    window: WindowSettings,
    device: torch.device | str,
) -> np.ndarray:
    """Return the leaf positions of a volume, uint8 `[X, Y, Z]`.

    Args:
        network: maps `[B, M, X, Y, Z]` to logits `[B, N, X, Y, Z]` (or to a list of them, the
            highest resolution first).
        image: prepared image `[M, X, Y, Z]`, canonical axes.
        head: decodes the logits.
        window: how the volume is covered.
        device: where the network is.

    Raises:
        ValueError: as `predict_logits`.
    """
    logits = predict_logits(network, image, head, window, device)
    # The head works through slabs, in float32, and needs no copy of all logits.
    return head.decode(logits[None])[0].cpu().numpy()


def predict_probabilities(
    network: Callable[[Tensor], Tensor],
    image: Tensor,
    head: Head,
    window: WindowSettings,
    device: torch.device | str,
    classes: Sequence[int],
) -> np.ndarray:
    """Return the probabilities of some classes (positions), float16 `[len(classes), X, Y, Z]`."""
    logits = predict_logits(network, image, head, window, device)
    chosen = torch.as_tensor(list(classes), device=logits.device)
    values = np.empty((len(chosen), *logits.shape[1:]), dtype=np.float16)
    for slab in _slabs(logits):
        part = head.class_probabilities(logits[None, :, slab].float())[0]
        values[:, slab] = part[chosen].half().cpu().numpy()
    return values


@torch.no_grad()
def predict_logits(
    network: Callable[[Tensor], Tensor],
    image: Tensor,
    head: Head,
    window: WindowSettings,
    device: torch.device | str,
) -> Tensor:
    """Return blended logits `[N, X, Y, Z]` in the number type and place of `window`.

    The network runs in evaluation mode and gets the modes of all its parts back.

    Raises:
        ValueError: if the image is not `[M, X, Y, Z]`, if the network's channels are not the
            head's, or if mirroring is asked of sagittal slices.
    """
    device = torch.device(device)
    if image.ndim != 4:
        raise ValueError(f"image has shape {tuple(image.shape)}, expected [M, X, Y, Z]")
    partners = _mirror_channels(head, window) if window.mirror else None
    padded, inside = _pad(image.float(), window)

    def logits_of(windows: Tensor) -> Tensor:
        with torch.autocast(
            device.type,
            dtype=_DTYPES[window.precision] if window.precision != "float32" else None,
            enabled=window.precision != "float32",
        ):
            output = network(windows)
        if isinstance(output, list | tuple):
            output = output[0]
        if output.shape[1] != head.channels:
            raise ValueError(
                f"the network gives {output.shape[1]} channels, the {head.name} head of table "
                f"'{head.space.name}' expects {head.channels}; they belong to different runs"
            )
        return output.float()

    def predictor(_: Tensor, places: list[list[slice]]) -> Tensor:
        windows = torch.cat([padded[tuple(place)] for place in places]).to(device)
        logits = logits_of(windows)
        if partners is not None:
            mirrored = logits_of(windows.flip(LEFT_RIGHT)).flip(LEFT_RIGHT)
            logits = (logits + mirrored[:, partners]) / 2
        return logits

    # MONAI accumulates in the number type of its input. An input that only has a shape keeps the
    # image itself in float32 and costs no memory.
    shape = torch.zeros((), dtype=_DTYPES[window.accumulate]).expand(1, 1, *padded.shape[2:])
    with _evaluating(network):
        logits = sliding_window_inference(
            shape,
            roi_size=window.patch_size,
            sw_batch_size=window.batch_size,
            predictor=predictor,
            overlap=tuple(0.0 if size == 1 else window.overlap for size in window.patch_size),
            mode=window.mode,
            sw_device=device,
            device=device if window.accumulate_on == "device" else torch.device("cpu"),
            with_coord=True,
        )
    return logits[0][(slice(None), *inside)]


def _mirror_channels(head: Head, window: WindowSettings) -> list[int]:
    if window.patch_size[0] == 1:
        raise ValueError(
            "a sagittal slice looks the same after a left-right flip, so mirroring cannot help "
            "and would mix left with right; set mirror to false"
        )
    known = {"multilabel": head.space.class_mirror, "softmax": head.space.mirror}
    if head.name not in known or len(known[head.name]) != head.channels:
        raise ValueError(
            f"mirroring knows the heads {', '.join(known)}, found '{head.name}' with "
            f"{head.channels} channels; set mirror to false"
        )
    return list(known[head.name])


def _pad(image: Tensor, window: WindowSettings) -> tuple[Tensor, tuple[slice, ...]]:
    """Return `[1, M, *S]` at least as large as the window, and where the image lies in it."""
    short = [max(p - n, 0) for p, n in zip(window.patch_size, image.shape[1:], strict=True)]
    before = [extra // 2 for extra in short]
    pads = [side for s, b in zip(short[::-1], before[::-1], strict=True) for side in (b, s - b)]
    if window.pad_value is None:
        padded = pad(image[None], pads, mode="replicate")
    else:
        padded = pad(image[None], pads, value=window.pad_value)
    inside = tuple(slice(b, b + n) for b, n in zip(before, image.shape[1:], strict=True))
    return padded, inside


def _slabs(logits: Tensor) -> Iterator[slice]:
    """Cut along X so that a float32 copy of all channels stays small (256 MiB)."""
    thickness = max(1, _SLAB_VALUES // max(1, logits[:, 0].numel()))
    for start in range(0, logits.shape[1], thickness):
        yield slice(start, start + thickness)


@contextmanager
def _evaluating(network: Callable[[Tensor], Tensor]) -> Iterator[None]:
    """Put a module in evaluation mode; frozen parts may have a mode of their own to go back to."""
    modules = list(network.modules()) if isinstance(network, nn.Module) else []
    modes = [module.training for module in modules]
    if isinstance(network, nn.Module):
        network.eval()
    try:
        yield
    finally:
        for module, mode in zip(modules, modes, strict=True):
            module.training = mode
