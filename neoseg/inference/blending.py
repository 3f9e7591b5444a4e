"""Blend overlapping windows in one pass, releasing planes that no later window touches."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import product

import torch
from torch import Tensor

Place = tuple[int, int, int]
Region = tuple[slice, slice, slice]

_CHUNK = 2**20
"""Number of values that are added at a time, few enough to stay in the CPU cache."""


def window_starts(size: int, patch: int, overlap: float) -> list[int]:
    """Return where windows start along an axis; the last one ends at the border.

    Windows of one voxel never overlap. The starts are those of MONAI's `sliding_window_inference`.

    Raises:
        ValueError: the axis is shorter than the window.
    """
    if size < patch:
        raise ValueError(f"a window of {patch} voxels does not fit an axis of {size}; pad it first")
    step = max(1, int(patch * (1 - overlap)))
    return [*range(0, size - patch, step), size - patch]


def blend(
    predict: Callable[[Sequence[Place]], Tensor],
    size: Sequence[int],
    importance: Tensor,
    overlap: float,
    batch_size: int,
    dtype: torch.dtype,
    device: torch.device,
    block: int,
) -> Iterator[tuple[Region, Tensor]]:
    """Yield the weighted mean of all windows, piece by piece, each voxel once.

    Windows are processed in order along the axis on which they are shortest relative to the volume.
    Only the planes covered by the current windows are in memory: the length of a window (plus the
    distance from the first to the last window of a batch) times the cross-section, independent of
    the length of the volume.

    Args:
        predict: maps the start corners of up to `batch_size` windows to `[B, C, *patch]`.
        size: shape of the volume in voxels, at least that of the window.
        importance: positive weights of a window's voxels `[*patch]`, float32, on `device`.
        overlap: fraction of the window shared by neighbours.
        batch_size: windows per call of `predict`.
        dtype: of the sums, which are rounded once per added window.
        device: of the sums.
        block: largest number of voxels in a piece (but at least one line).

    Yields:
        The region of a piece, and its mean `[C, *piece]` in float32.
    """
    patch = importance.shape
    axis = min(range(3), key=lambda a: patch[a] / size[a])
    starts = [window_starts(n, p, overlap) for n, p in zip(size, patch, strict=True)]
    corners = sorted(product(starts[0], starts[1], starts[2]), key=lambda corner: corner[axis])
    batches = [corners[n : n + batch_size] for n in range(0, len(corners), batch_size)]
    length = patch[axis] + max(batch[-1][axis] - batch[0][axis] for batch in batches)
    planes: _Planes | None = None
    for number, batch in enumerate(batches):
        values = predict(batch).to(device)
        if planes is None:
            planes = _Planes.like(values, axis, size, length, importance, dtype)
        for corner, value in zip(batch, values, strict=True):
            planes.add(corner, value)
        del values, value
        last = number + 1 == len(batches)
        yield from planes.release(size[axis] if last else batches[number + 1][0][axis], block)


@dataclass
class _Planes:
    """The unfinished planes perpendicular to `axis`, starting at plane `first` of the volume.

    Attributes:
        sums: weighted sums `[L, C, A, B]`; A and B are the other two axes in order.
        weights: float32 `[L, A, B]`.
        importance: `[patch along axis, patch along A, patch along B]`.
    """

    axis: int
    sums: Tensor
    weights: Tensor
    importance: Tensor
    first: int = 0

    @classmethod
    def like(
        cls,
        values: Tensor,
        axis: int,
        size: Sequence[int],
        length: int,
        importance: Tensor,
        dtype: torch.dtype,
    ) -> _Planes:
        """Allocate sums for `values` `[B, C, *patch]`, channels last in memory if these are."""
        a, b = (n for other, n in enumerate(size) if other != axis)
        channels, device = values.shape[1], values.device
        if values.stride(1) == 1 and channels > 1:
            sums = torch.zeros(length, a, b, channels, dtype=dtype, device=device).movedim(-1, 1)
        else:
            sums = torch.zeros(length, channels, a, b, dtype=dtype, device=device)
        weights = torch.zeros(length, a, b, device=device)
        return cls(axis, sums, weights, importance.movedim(axis, 0))

    def add(self, place: Place, value: Tensor) -> None:
        """Add one window `[C, *patch]`."""
        depth, a, b = self.importance.shape
        start = place[self.axis] - self.first
        at_a, at_b = (n for other, n in enumerate(place) if other != self.axis)
        box = (slice(start, start + depth), slice(at_a, at_a + a), slice(at_b, at_b + b))
        self.weights[box] += self.importance
        sums = self.sums[box[0], :, box[1], box[2]]
        value = value.movedim(1 + self.axis, 0)
        importance = self.importance[:, None]
        if sums.dtype == torch.float32:
            sums.addcmul_(value, importance)
            return
        step = max(1, _CHUNK // sums[0].numel())
        for part in (slice(n, n + step) for n in range(0, depth, step)):
            sums[part] = sums[part].float().addcmul_(value[part], importance[part])

    def release(self, stop: int, block: int) -> Iterator[tuple[Region, Tensor]]:
        """Yield the planes before `stop` in pieces of at most `block` voxels, then drop them."""
        _, _, a, b = self.sums.shape
        rows = min(a, max(1, block // b))
        thick = max(1, block // (a * b))
        for plane in range(self.first, stop, thick):
            inside = slice(plane - self.first, min(plane + thick, stop) - self.first)
            for row in range(0, a, rows):
                part = slice(row, min(row + rows, a))
                weights = self.weights[inside, part][:, None]
                mean = self.sums[inside, :, part] / weights
                region = [part, slice(0, b)]
                region.insert(self.axis, slice(plane, plane + inside.stop - inside.start))
                piece = mean.movedim(1, 0).movedim(1, 1 + self.axis)
                yield (region[0], region[1], region[2]), piece
        self._drop(stop)

    def _drop(self, stop: int) -> None:
        """Move the remaining planes to the front, one by one, as source and target may overlap."""
        shift, length = stop - self.first, len(self.sums)
        for plane in range(length - shift):
            self.sums[plane] = self.sums[plane + shift]
            self.weights[plane] = self.weights[plane + shift]
        self.sums[max(0, length - shift) :] = 0
        self.weights[max(0, length - shift) :] = 0
        self.first = stop
