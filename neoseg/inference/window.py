"""Predict whole volumes with a sliding window."""

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Annotated, Literal

import numpy as np
import torch
from pydantic import Field, field_validator
from torch import Tensor, nn
from torch.nn.functional import pad

from neoseg.findings.settings import Section
from neoseg.imports import import_monai
from neoseg.inference.blending import Region, blend
from neoseg.inference.forward import WindowForward, mirror_partners
from neoseg.networks import Head

MAX_LENGTH, MAX_VOXELS = 4096, 2**27
"""Largest window in voxels, along an axis and in all."""

_BLOCK_VALUES = {"cpu": 2**20}
_LARGE_BLOCK_VALUES = 2**25


Length = Annotated[int, Field(ge=1, le=MAX_LENGTH)]


class WindowSettings(Section):
    """How a volume is covered by windows.

    Attributes:
        patch_size: window in voxels; 1 along an axis means a slice-wise network, whose windows
            never overlap along that axis.
        overlap: fraction of the window shared by neighbours, 0 to below 1.
        batch_size: windows per forward pass.
        mode: weighting of a window's voxels; "gaussian" gives its centre more weight.
        mirror: average each window with its left-right mirror image.
        pad_value: padding of volumes that are smaller than the window, in units of the prepared
            image; None replicates the border, as for training patches.
        precision: of the forward pass; below float32 by autocast.
        accumulate: data type of the blended values; float16 halves their memory, and rounds each
            sum to 3 digits.
        accumulate_on: "device" of the network, or "cpu" if its memory is too small.
    """

    patch_size: tuple[Length, Length, Length]
    overlap: float = Field(default=0.5, ge=0, lt=1)
    batch_size: int = Field(default=1, ge=1)
    mode: Literal["gaussian", "constant"] = "gaussian"
    mirror: bool = False
    pad_value: float | None = None
    precision: Literal["float32", "float16", "bfloat16"] = "float32"
    accumulate: Literal["float32", "float16"] = "float16"
    accumulate_on: Literal["device", "cpu"] = "device"

    @field_validator("patch_size")
    @classmethod
    def _fits_in_memory(cls, size: tuple[int, ...]) -> tuple[int, ...]:
        if math.prod(size) > MAX_VOXELS:
            raise ValueError(f"{size} are {math.prod(size)} voxels, expected up to {MAX_VOXELS}")
        return size


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
        window: sliding-window settings.
        device: of the network.

    Raises:
        ValueError: see `predict_pieces`.
    """
    leaves = np.empty(image.shape[1:], dtype=np.uint8)
    for region, logits in predict_pieces(network, image, head, window, device):
        leaves[region] = leaf_map(head, logits)
    return leaves


def predict_logits(
    network: Callable[[Tensor], Tensor],
    image: Tensor,
    head: Head,
    window: WindowSettings,
    device: torch.device | str,
) -> Tensor:
    """Return all blended logits `[N, X, Y, Z]`, with data type and device as in `window`.

    Raises:
        ValueError: see `predict_pieces`.
    """
    result: Tensor | None = None
    for region, logits in predict_pieces(network, image, head, window, device):
        if result is None:
            shape = (head.channels, *image.shape[1:])
            result = logits.new_empty(shape, dtype=getattr(torch, window.accumulate))
        result[(slice(None), *region)] = logits
    assert result is not None  # there is at least one window
    return result


@torch.no_grad()
def predict_pieces(
    network: Callable[[Tensor], Tensor],
    image: Tensor,
    head: Head,
    window: WindowSettings,
    device: torch.device | str,
    whole_planes: bool = False,
) -> Iterator[tuple[Region, Tensor]]:
    """Yield the blended logits of a volume piece by piece, each voxel once.

    The logits of the whole volume are never in memory: see `blend`, and `Projection` for the values
    that are blended. The network is in evaluation mode until the last piece; then each module's
    mode is restored. With `whole_planes` every piece consists of whole planes across the axis along
    which windows are processed, in order along it.

    Yields:
        The region of a piece in the volume, and its logits `[N, *piece]`, float32.

    Raises:
        ValueError: the image is not `[M, X, Y, Z]`, the number of channels of the network is not
            that of the head, or mirroring is requested for sagittal slices.
    """
    device = torch.device(device)
    if image.ndim != 4:
        raise ValueError(f"image has shape {tuple(image.shape)}, expected [M, X, Y, Z]")
    partners = mirror_partners(head, window.patch_size) if window.mirror else None
    padded, inside = _pad(image.float(), window)
    sum_on = device if window.accumulate_on == "device" else torch.device("cpu")
    block = max(1, _BLOCK_VALUES.get(sum_on.type, _LARGE_BLOCK_VALUES) // head.channels)
    if whole_planes:
        block = max(block, padded[0, 0].numel() // min(padded.shape[2:]))
    with ExitStack() as stack:
        stack.enter_context(_evaluating(network))
        forward = WindowForward(network, head, partners, window.precision, device, sum_on, stack)

        def predict(places: Sequence[tuple[int, int, int]]) -> Tensor:
            corners = (zip(p, window.patch_size, strict=True) for p in places)
            boxes = [tuple(slice(n, n + size) for n, size in corner) for corner in corners]
            return forward(torch.cat([padded[(slice(None), slice(None), *box)] for box in boxes]))

        means = blend(
            predict,
            padded.shape[2:],
            _importance(window, sum_on),
            window.overlap,
            window.batch_size,
            getattr(torch, window.accumulate),
            sum_on,
            block,
        )
        for region, mean in means:
            target, source = _within(region, inside)
            if all(part.start < part.stop for part in source):
                yield target, forward.logits(mean[(slice(None), *source)])


def _importance(window: WindowSettings, device: torch.device) -> Tensor:
    """Return the blending weights of a window's voxels, float32 `[*patch_size]`."""
    import_monai()
    from monai.data.utils import compute_importance_map

    weights: Tensor = compute_importance_map(window.patch_size, mode=window.mode, device=device)
    return weights


def leaf_map(head: Head, logits: Tensor) -> np.ndarray:
    """Decode the logits `[N, *S]` of a piece to leaf positions, uint8 `[*S]`."""
    if logits.device.type != "cpu":
        return head.decode(logits[None])[0].cpu().numpy()
    # NumPy's argmax over contiguous values is ten times as fast as torch's.
    scores = head.leaf_scores(logits[None])[0].movedim(0, -1)
    voxels = scores.reshape(-1, scores.shape[-1]).numpy()
    leaves: np.ndarray = voxels.argmax(-1).astype(np.uint8).reshape(scores.shape[:-1])
    return leaves


def probability_map(head: Head, logits: Tensor, classes: Sequence[int]) -> np.ndarray:
    """Return the probabilities of some classes in a piece, float16 `[len(classes), *S]`."""
    probabilities = head.class_probabilities(logits[None])[0]
    return probabilities[list(classes)].half().cpu().numpy()


def votes(head: Head, logits: Tensor, classes: Sequence[int]) -> Tensor:
    """Return the probabilities to average or interpolate, float32 `[K + len(classes), *S]`.

    First the probability of each leaf given that exactly one is true, then those of `classes`.
    """
    leaves = head.leaf_scores(logits[None])[0].softmax(dim=0)
    if not classes:
        return leaves
    return torch.cat([leaves, head.class_probabilities(logits[None])[0, list(classes)]])


def _pad(image: Tensor, window: WindowSettings) -> tuple[Tensor, Region]:
    """Pad to `[1, M, *S]` of at least the window size; also return the image's region in it."""
    missing = [max(p - n, 0) for p, n in zip(window.patch_size, image.shape[1:], strict=True)]
    before = [extra // 2 for extra in missing]
    pads = [side for s, b in zip(missing[::-1], before[::-1], strict=True) for side in (b, s - b)]
    if window.pad_value is None:
        padded = pad(image[None], pads, mode="replicate")
    else:
        padded = pad(image[None], pads, value=window.pad_value)
    x, y, z = (slice(b, b + n) for b, n in zip(before, image.shape[1:], strict=True))
    return padded, (x, y, z)


def _within(region: Region, inside: Region) -> tuple[Region, Region]:
    """Intersect a region with `inside`; return the result relative to `inside` and the region."""
    low = [max(r.start, i.start) for r, i in zip(region, inside, strict=True)]
    high = [min(r.stop, i.stop) for r, i in zip(region, inside, strict=True)]

    def relative(to: Region) -> Region:
        x, y, z = (
            slice(a - t.start, max(a, b) - t.start) for a, b, t in zip(low, high, to, strict=True)
        )
        return x, y, z

    return relative(inside), relative(region)


@contextmanager
def _evaluating(network: Callable[[Tensor], Tensor]) -> Iterator[None]:
    """Set evaluation mode temporarily; frozen submodules may have another mode to restore."""
    modules = list(network.modules()) if isinstance(network, nn.Module) else []
    modes = [module.training for module in modules]
    if isinstance(network, nn.Module):
        network.eval()
    try:
        yield
    finally:
        for module, mode in zip(modules, modes, strict=True):
            module.training = mode
