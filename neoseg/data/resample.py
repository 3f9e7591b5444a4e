"""Values of a block of a scan at the voxels of a bent patch: image linear, codes nearest.

The work is done a few planes at a time in buffers that are made once: fresh memory for every
intermediate result costs several times the arithmetic. Nothing depends on the number of threads.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

Triple = tuple[int, int, int]

SLAB = 1 << 16
"""Voxels that are worked on at a time: the buffers stay in the cache."""


@dataclass(frozen=True)
class PatchMap:
    """From output voxels to scan voxels: `middle + matrix @ offset + bend`.

    The map turns about the middle of the patch, which lies between two voxels where the size is
    even; so a flip shows the very voxels that the patch shows without it.

    Attributes:
        size: of the patch.
        middle: scan coordinates of its middle.
        matrix: `[3, 3]` from output offsets to scan offsets.
        bend: displacement `[3, a, Y, Z]` at `a` planes across the first axis, linear in between.
        low, high: extremes of the scan coordinates over the patch, `[3]`.
    """

    size: Triple
    middle: np.ndarray
    matrix: np.ndarray
    bend: Tensor | None
    low: np.ndarray
    high: np.ndarray

    @classmethod
    def of(
        cls, centre: Sequence[int], size: Triple, matrix: np.ndarray, elastic: np.ndarray | None
    ) -> PatchMap:
        """Prepare the map of one patch; `elastic` `[3, a, b, c]` displaces control points."""
        middle = np.array([c - n // 2 + (n - 1) / 2 for c, n in zip(centre, size, strict=True)])
        if elastic is None:
            reach = np.abs(matrix) @ ((np.array(size) - 1) / 2)
            return cls(size, middle, matrix, None, middle - reach, middle + reach)
        control = _smooth(elastic)
        nodes = control.shape[1:]
        planes = control.flatten(0, 1)[None]
        dense = F.interpolate(planes, size=size[1:], mode="bilinear", align_corners=True)
        bend = dense.view(3, nodes[0], *size[1:])
        # Between its nodes the map is linear along each axis: its extremes lie on them.
        axes = [np.linspace(-(n - 1) / 2, (n - 1) / 2, m) for n, m in zip(size, nodes, strict=True)]
        offsets = np.stack(np.meshgrid(*axes, indexing="ij"))
        reached = np.einsum("ij,jxyz->ixyz", matrix, offsets) + middle[:, None, None, None]
        reached += control.numpy()
        low, high = reached.min(axis=(1, 2, 3)), reached.max(axis=(1, 2, 3))
        return cls(size, middle, matrix, bend, low, high)

    def sheets(self) -> tuple[Tensor, Tensor]:
        """What the first patch axis adds to the scan coordinates `[3, X]`, and the other two add
        `[3, Y, Z]`, where nothing bends.
        """
        x, y, z = (torch.arange(n, dtype=torch.float32) - (n - 1) / 2 for n in self.size)
        middle, matrix = torch.from_numpy(self.middle), torch.from_numpy(self.matrix).float()
        # Summed term by term: a matrix product may round differently with the threads.
        column = middle.float()[:, None] + matrix[:, :1] * x
        return column, matrix[:, 1, None, None] * y[:, None] + matrix[:, 2, None, None] * z

    def bend_planes(self, planes: range, out: Tensor) -> None:
        """Write the displacement `[3, planes, Y, Z]` of some planes of the patch."""
        assert self.bend is not None
        last = self.bend.shape[1] - 1
        at = np.arange(planes.start, planes.stop) * last / max(self.size[0] - 1, 1)
        before = np.minimum(at.astype(int), last - 1)
        share = torch.from_numpy((at - before).astype(np.float32))[:, None, None]
        for node in np.unique(before):
            rows = slice(*np.searchsorted(before, [node, node + 1]))
            low, high = self.bend[:, node, None], self.bend[:, node + 1, None]
            torch.lerp(low, high, share[rows], out=out[:, rows])


def _smooth(control: np.ndarray) -> Tensor:
    """Box average of control points `[3, a, b, c]`, which softens the kinks between them.

    Interpolated linearly, the result is a quadratic spline.
    """
    # Averaging 8 independent points divides the deviation by sqrt(8).
    return F.avg_pool3d(torch.from_numpy(control)[None], 2, stride=1)[0] * float(np.sqrt(8.0))


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
    size = place.size
    planes = max(1, min(size[0], SLAB // (size[1] * size[2])))
    result = torch.empty((image.shape[0], *size))
    labels = None if codes is None else torch.empty(size, dtype=torch.uint8)
    outside = bool((place.low < -0.5).any() or (place.high > np.array(limit) - 0.5).any())
    (column, sheet), work = place.sheets(), _Reader(image, codes, planes * size[1] * size[2])
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
    return result, labels


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

    def __init__(self, image: Tensor, codes: Tensor | None, voxels: int) -> None:
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
