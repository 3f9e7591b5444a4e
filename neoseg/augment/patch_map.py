"""Map from the voxels of a warped patch to the coordinates of its scan."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

Triple = tuple[int, int, int]


@dataclass(frozen=True)
class PatchMap:
    """Map from output voxels to scan voxels: `middle + matrix @ offset + bend`.

    The map rotates about the middle of the patch, which lies between two voxels if the size is
    even; so a flipped patch contains exactly the voxels of the unflipped one.

    Attributes:
        size: of the patch.
        middle: scan coordinates of its middle.
        matrix: `[3, 3]` from output offsets to scan offsets.
        bend: displacement `[3, a, Y, Z]` at `a` planes across the first axis, linear in between;
            None without elastic deformation.
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
        """Build the map of one patch; `elastic` `[3, a, b, c]` displaces control points."""
        middle = np.array([c - n // 2 + (n - 1) / 2 for c, n in zip(centre, size, strict=True)])
        if elastic is None:
            reach = np.abs(matrix) @ ((np.array(size) - 1) / 2)
            return cls(size, middle, matrix, None, middle - reach, middle + reach)
        control = _smooth(elastic)
        nodes = control.shape[1:]
        planes = control.flatten(0, 1)[None]
        dense = F.interpolate(planes, size=size[1:], mode="bilinear", align_corners=True)
        bend = dense.view(3, nodes[0], *size[1:])
        # The map is linear along each axis between its nodes, so its extremes are at nodes.
        axes = [np.linspace(-(n - 1) / 2, (n - 1) / 2, m) for n, m in zip(size, nodes, strict=True)]
        offsets = np.stack(np.meshgrid(*axes, indexing="ij"))
        coordinates = np.einsum("ij,jxyz->ixyz", matrix, offsets) + middle[:, None, None, None]
        coordinates += control.numpy()
        low, high = coordinates.min(axis=(1, 2, 3)), coordinates.max(axis=(1, 2, 3))
        return cls(size, middle, matrix, bend, low, high)

    def sheets(self) -> tuple[Tensor, Tensor]:
        """Return the affine part of the map as two summands that broadcast to its coordinates.

        These are `[3, X]` for the first axis, including `middle`, and `[3, Y, Z]` for the others.
        """
        x, y, z = (torch.arange(n, dtype=torch.float32) - (n - 1) / 2 for n in self.size)
        middle, matrix = torch.from_numpy(self.middle), torch.from_numpy(self.matrix).float()
        # Summed explicitly: rounding of a matrix product may depend on the number of threads.
        column = middle.float()[:, None] + matrix[:, :1] * x
        return column, matrix[:, 1, None, None] * y[:, None] + matrix[:, 2, None, None] * z

    def leaves(self, limit: Triple) -> bool:
        """Return whether some voxel may lie outside a scan of this shape."""
        return bool((self.low < -0.5).any() or (self.high > np.array(limit) - 0.5).any())

    def nodes(self) -> tuple[np.ndarray, np.ndarray]:
        """Return where the planes of the patch lie between those of `bend`.

        These are the index of the plane before (int32) and the weight of the next (float32).
        """
        assert self.bend is not None
        last = self.bend.shape[1] - 1
        position = np.arange(self.size[0]) * last / max(self.size[0] - 1, 1)
        before = np.minimum(position.astype(np.int32), last - 1)
        return before, (position - before).astype(np.float32)

    def bend_planes(self, planes: range, out: Tensor) -> None:
        """Write the displacement `[3, planes, Y, Z]` of some planes of the patch to `out`."""
        assert self.bend is not None
        before, weights = (values[planes.start : planes.stop] for values in self.nodes())
        weight = torch.from_numpy(weights)[:, None, None]
        for node in np.unique(before):
            rows = slice(*np.searchsorted(before, [node, node + 1]))
            low, high = self.bend[:, node, None], self.bend[:, node + 1, None]
            torch.lerp(low, high, weight[rows], out=out[:, rows])


def _smooth(control: np.ndarray) -> Tensor:
    """Average control points `[3, a, b, c]` over boxes, which softens the kinks between them.

    Interpolated linearly, the result is a quadratic spline.
    """
    # Averaging 8 independent points divides the standard deviation by sqrt(8).
    return F.avg_pool3d(torch.from_numpy(control)[None], 2, stride=1)[0] * float(np.sqrt(8.0))
