"""Values of a block of a scan at the voxels of a bent patch: image linear, codes nearest.

In C (`resample.c`) where there is a compiler, else in torch. There the work is done a few planes at
a time in buffers that are made once: fresh memory for every intermediate result costs several times
the arithmetic. Nothing depends on the number of threads, and both give the same bits on a processor
with fused multiplication and addition.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from neoseg.augment.patch_map import PatchMap, Triple
from neoseg.augment.resample_c import compiled, resample_compiled

SLAB = 1 << 16
"""Voxels that are worked on at a time: the buffers stay in the cache."""


def resample(
    image: Tensor, codes: Tensor | None, corner: Sequence[int], limit: Triple, place: PatchMap
) -> tuple[Tensor, Tensor | None]:
    """Return image float32 `[M, *size]` and codes uint8 `[*size]` (None where there are none).

    Args:
        image: `[M, x, y, z]`, float16 or float32, the block of the scan that the map reaches.
        codes: uint8 `[x, y, z]`, the same block.
        corner: scan coordinates of the block's first voxel.
        limit: shape of the scan; outside it the image repeats its border and the codes are 0.
        place: the map.
    """
    image = image.contiguous()
    codes = None if codes is None else codes.contiguous()
    result = torch.empty((image.shape[0], *place.size))
    labels = None if codes is None else torch.empty(place.size, dtype=torch.uint8)
    fill = _resample_torch if compiled() is None else resample_compiled
    fill(image, codes, corner, limit, place, result, labels)
    return result, labels


def _resample_torch(
    image: Tensor,
    codes: Tensor | None,
    corner: Sequence[int],
    limit: Triple,
    place: PatchMap,
    result: Tensor,
    labels: Tensor | None,
) -> None:
    size = place.size
    planes = max(1, min(size[0], SLAB // (size[1] * size[2])))
    outside = place.leaves(limit)
    (column, sheet), work = place.sheets(), _Reader(image, planes * size[1] * size[2])
    origin = torch.tensor(corner, dtype=torch.float32)
    for first in range(0, size[0], planes):
        rows = range(first, min(first + planes, size[0]))
        voxels = len(rows) * size[1] * size[2]
        where = work.where[:, :voxels].view(3, len(rows), *size[1:])
        torch.add(column[:, first : rows.stop, None, None], sheet[:, None], out=where)
        if place.bend is not None:
            bend = work.values[:3, :voxels].view(where.shape)
            place.bend_planes(rows, bend)
            where.add_(bend)
        leaves = _leaving(where, limit) if outside and labels is not None else None
        where.sub_(origin[:, None, None, None])
        work.locate(voxels)
        for channel, target in zip(image, result, strict=True):
            work.linear(channel, target[first : rows.stop].flatten())
        if codes is not None and labels is not None:
            found = labels[first : rows.stop].flatten()
            work.nearest(codes, found)
            if leaves is not None:
                np.copyto(found.numpy(), 0, where=leaves)


def _leaving(where: Tensor, limit: Triple) -> np.ndarray:
    """Return bool `[voxels]`, whose coordinates `[3, ...]` lie outside a scan of this shape."""
    axes = where.flatten(1).numpy()  # which compares in a fifth of the time
    leaves, part = (np.zeros(axes.shape[1], dtype=bool) for _ in range(2))
    for axis, end in zip(axes, limit, strict=True):
        for compare, border in ((np.less, -0.5), (np.greater, end - 0.5)):
            leaves |= compare(axis, np.float32(border), out=part)
    return leaves


class _Reader:
    """Buffers for one slab: put block coordinates into `where`, `locate`, then read."""

    def __init__(self, image: Tensor, voxels: int) -> None:
        self.shape = image.shape[1:]
        strides = (self.shape[1] * self.shape[2], self.shape[2], 1)
        # An axis of one voxel has no neighbour to mix with.
        self.steps = [s if n > 1 else 0 for s, n in zip(strides, self.shape, strict=True)]
        self.where = torch.empty(3, voxels)
        self.share, self.base = torch.empty(voxels), torch.empty(voxels)
        self.values = torch.empty(4, voxels)
        self.index = torch.empty(voxels, dtype=torch.int32)
        self.moved = torch.empty(voxels, dtype=torch.int32)
        self.raw = torch.empty(voxels, dtype=image.dtype)
        self.used = voxels

    def locate(self, voxels: int) -> None:
        """Split the coordinates into the voxel below (`index`) and the shares of the next one."""
        self.used = voxels
        base, other, index = self.base[:voxels], self.share[:voxels], self.index[:voxels]
        last = [max(n - 2, 0) for n in self.shape]
        where = [axis[:voxels] for axis in self.where]
        for number, axis in enumerate(where):
            axis.clamp_(0, self.shape[number] - 1)
            torch.floor(axis, out=other).clamp_(max=last[number])
            axis.sub_(other)
            if number == 0:
                torch.mul(other, self.shape[1], out=base)
            elif number == 1:
                index.copy_(base.add_(other)).mul_(self.shape[2])
            else:
                moved = self.moved[:voxels]
                index.add_(moved.copy_(other))

    def linear(self, channel: Tensor, out: Tensor) -> None:
        """Write the linear interpolation of a block `[x, y, z]`."""
        flat = channel.reshape(-1)
        x, y, z = (axis[: self.used] for axis in self.where)
        near, far, low, high = (buffer[: self.used] for buffer in self.values)
        for first, target in ((0, low), (self.steps[0], high)):
            for second, part in ((0, near), (self.steps[1], far)):
                self._line(flat, first + second, z, part)
            torch.lerp(near, far, y, out=target)
        torch.lerp(low, high, x, out=out)

    def _line(self, flat: Tensor, offset: int, share: Tensor, out: Tensor) -> None:
        """Mix two neighbours along the last axis, `offset` voxels on."""
        moved, raw, next_ = self.moved[: self.used], self.raw[: self.used], self.base[: self.used]
        torch.add(self.index[: self.used], offset, out=moved)
        out.copy_(torch.index_select(flat, 0, moved, out=raw))
        moved.add_(self.steps[2])
        next_.copy_(torch.index_select(flat, 0, moved, out=raw))
        torch.lerp(out, next_, share, out=out)

    def nearest(self, codes: Tensor, out: Tensor) -> None:
        """Write the nearest code of a block `[x, y, z]`."""
        offset, part = self.base[: self.used], self.share[: self.used]
        offset.zero_()
        for axis, step in zip(self.where, self.steps, strict=True):
            torch.round(axis[: self.used], out=part)
            offset.add_(part, alpha=step)
        moved = self.moved[: self.used].copy_(offset).add_(self.index[: self.used])
        torch.index_select(codes.reshape(-1), 0, moved, out=out)
