"""Resample a block of a scan at the voxels of a warped patch: image linear, codes nearest.

The work is done in C (`resample.c`) if there is a compiler, else in torch. The torch version
processes a few planes at a time in buffers that are allocated once, since allocating every
intermediate result costs several times the arithmetic. Results do not depend on the number of
threads, and both versions are bit-identical on processors with fused multiply-add.
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from neoseg.augment.patch_map import PatchMap, Triple
from neoseg.augment.resample_c import compiled, resample_compiled

SLAB = 1 << 16
"""Voxels processed at a time, so that the buffers stay in the cache."""


def resample(
    image: Tensor, codes: Tensor | None, corner: Sequence[int], limit: Triple, place: PatchMap
) -> tuple[Tensor, Tensor | None]:
    """Return image float32 `[M, *size]` and codes uint8 `[*size]` (None without codes).

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
    may_leave = place.leaves(limit)
    (column, sheet), reader = place.sheets(), _Reader(image, planes * size[1] * size[2])
    origin = torch.tensor(corner, dtype=torch.float32)
    for first in range(0, size[0], planes):
        rows = range(first, min(first + planes, size[0]))
        voxels = len(rows) * size[1] * size[2]
        coordinates = reader.where[:, :voxels].view(3, len(rows), *size[1:])
        torch.add(column[:, first : rows.stop, None, None], sheet[:, None], out=coordinates)
        if place.bend is not None:
            bend = reader.values[:3, :voxels].view(coordinates.shape)
            place.bend_planes(rows, bend)
            coordinates.add_(bend)
        outside_voxels = _outside(coordinates, limit) if may_leave and labels is not None else None
        coordinates.sub_(origin[:, None, None, None])
        reader.locate(voxels)
        for channel, target in zip(image, result, strict=True):
            reader.linear(channel, target[first : rows.stop].flatten())
        if codes is not None and labels is not None:
            target_codes = labels[first : rows.stop].flatten()
            reader.nearest(codes, target_codes)
            if outside_voxels is not None:
                np.copyto(target_codes.numpy(), 0, where=outside_voxels)


def _outside(where: Tensor, limit: Triple) -> np.ndarray:
    """Return bool `[voxels]`: whether coordinates `[3, ...]` are outside a scan of this shape."""
    axes = where.flatten(1).numpy()  # NumPy compares five times faster
    outside, buffer = (np.zeros(axes.shape[1], dtype=bool) for _ in range(2))
    for axis, end in zip(axes, limit, strict=True):
        for compare, border in ((np.less, -0.5), (np.greater, end - 0.5)):
            outside |= compare(axis, np.float32(border), out=buffer)
    return outside


class _Reader:
    """Buffers for one slab: write block coordinates to `where`, call `locate`, then read."""

    def __init__(self, image: Tensor, voxels: int) -> None:
        self.shape = image.shape[1:]
        strides = (self.shape[1] * self.shape[2], self.shape[2], 1)
        # An axis of one voxel has no neighbour to interpolate with.
        self.steps = [s if n > 1 else 0 for s, n in zip(strides, self.shape, strict=True)]
        self.where = torch.empty(3, voxels)
        self.share, self.base = torch.empty(voxels), torch.empty(voxels)
        self.values = torch.empty(4, voxels)
        self.index = torch.empty(voxels, dtype=torch.int32)
        self.moved = torch.empty(voxels, dtype=torch.int32)
        self.raw = torch.empty(voxels, dtype=image.dtype)
        self.used = voxels

    def locate(self, voxels: int) -> None:
        """Split coordinates into the voxel below (`index`) and weights of the next (`where`)."""
        self.used = voxels
        base, below, index = self.base[:voxels], self.share[:voxels], self.index[:voxels]
        last = [max(n - 2, 0) for n in self.shape]
        where = [axis[:voxels] for axis in self.where]
        for number, axis in enumerate(where):
            axis.clamp_(0, self.shape[number] - 1)
            torch.floor(axis, out=below).clamp_(max=last[number])
            axis.sub_(below)
            if number == 0:
                torch.mul(below, self.shape[1], out=base)
            elif number == 1:
                index.copy_(base.add_(below)).mul_(self.shape[2])
            else:
                moved = self.moved[:voxels]
                index.add_(moved.copy_(below))

    def linear(self, channel: Tensor, out: Tensor) -> None:
        """Interpolate a block `[x, y, z]` linearly into `out`."""
        flat = channel.reshape(-1)
        x, y, z = (axis[: self.used] for axis in self.where)
        lower_line, upper_line, lower_plane, upper_plane = (
            buffer[: self.used] for buffer in self.values
        )
        for first, target in ((0, lower_plane), (self.steps[0], upper_plane)):
            for second, part in ((0, lower_line), (self.steps[1], upper_line)):
                self._line(flat, first + second, z, part)
            torch.lerp(lower_line, upper_line, y, out=target)
        torch.lerp(lower_plane, upper_plane, x, out=out)

    def _line(self, flat: Tensor, offset: int, share: Tensor, out: Tensor) -> None:
        """Interpolate between two neighbours along the last axis, starting `offset` voxels on."""
        moved, raw, upper = self.moved[: self.used], self.raw[: self.used], self.base[: self.used]
        torch.add(self.index[: self.used], offset, out=moved)
        out.copy_(torch.index_select(flat, 0, moved, out=raw))
        moved.add_(self.steps[2])
        upper.copy_(torch.index_select(flat, 0, moved, out=raw))
        torch.lerp(out, upper, share, out=out)

    def nearest(self, codes: Tensor, out: Tensor) -> None:
        """Write the nearest codes of a block `[x, y, z]` to `out`."""
        offset, part = self.base[: self.used], self.share[: self.used]
        offset.zero_()
        for axis, step in zip(self.where, self.steps, strict=True):
            torch.round(axis[: self.used], out=part)
            offset.add_(part, alpha=step)
        moved = self.moved[: self.used].copy_(offset).add_(self.index[: self.used])
        torch.index_select(codes.reshape(-1), 0, moved, out=out)
