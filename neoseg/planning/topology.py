"""Patch and network from the shape of the scans, by the rules of nnU-Net.

Isensee et al., Nature Methods 18 (2021) 203-211, and nnU-Net's `ExperimentPlanner` and
`get_pool_and_conv_props`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

ANISOTROPY = 3.0
"""Times by which one axis is coarser than the others where it is treated apart."""

SHORTEST = 4
"""Voxels that an axis has at least at the bottom of the network."""

MOST_POOLINGS = 5
WIDEST = 320
"""Channels of the widest level in 3D."""

SUMMED = "neoseg.networks.summed_heads.SummedHeads"

FIRST = 256**3
"""Voxels of the patch from which the search starts."""

Shape = tuple[int, int, int]


@dataclass(frozen=True)
class Topology:
    """A U-Net for a patch.

    Attributes:
        patch: voxels along X, Y, Z.
        strides: of each level along X, Y, Z; those of the first are 1.
        kernels: of the convolutions of each level.
    """

    patch: Shape
    strides: tuple[Shape, ...]
    kernels: tuple[Shape, ...]

    @property
    def divisors(self) -> Shape:
        """What the patch is a multiple of."""
        return _triple([math.prod(stride[a] for stride in self.strides) for a in range(3)])

    def network(self, width: int, deep: bool, classes: int) -> dict[str, Any]:
        """Return a `conf/network` entry with so many channels at the first level.

        More classes than those are told apart by heads at several levels, not by deep supervision.
        """
        levels = len(self.strides)
        x, y, z = self.divisors
        net = {
            "_target_": "monai.networks.nets.DynUNet",
            "spatial_dims": 3,
            "kernel_size": [list(kernel) for kernel in self.kernels],
            "strides": [list(stride) for stride in self.strides],
            "upsample_kernel_size": [list(stride) for stride in self.strides[1:]],
            "filters": [min(width << level, WIDEST) for level in range(levels)],
            "norm_name": ["INSTANCE", {"affine": True}],
            "act_name": ["leakyrelu", {"negative_slope": 0.01, "inplace": True}],
            "res_block": False,
        }
        if classes > width and levels > 2:
            net |= {"_target_": SUMMED, "summed": min(3, levels - 1)}
        else:
            net["deep_supervision"] = deep and levels > 3
        if net.get("deep_supervision"):
            net["deep_supr_num"] = min(2, levels - 3)
        return {"name": "planned", "divisor": x if x == y == z else [x, y, z], "net": net}


def topology(size: Sequence[int], spacing: Sequence[float], grow: bool = True) -> Topology:
    """Return the U-Net for a patch, which grows to what its poolings divide.

    An axis is halved while it stays at least 4 voxels long and its voxels are less than twice as
    long as the shortest; its kernels are 1 until then.

    Args:
        size: of the patch in voxels.
        spacing: of the voxels in mm.
        grow: False keeps the patch as it is: what does not divide it is not halved.
    """
    length, voxel = list(size), list(spacing)
    strides: list[Shape] = [(1, 1, 1)]
    kernels: list[Shape] = []
    kernel = [1, 1, 1]
    while len(strides) <= MOST_POOLINGS:
        axes = [a for a in range(3) if length[a] >= 2 * SHORTEST and (grow or length[a] % 2 == 0)]
        axes = [a for a in axes if voxel[a] < 2 * min(voxel[b] for b in axes)]
        if not axes or (len(axes) == 1 and length[axes[0]] < 3 * SHORTEST):
            break
        kernel = [
            3 if k == 3 or v < 2 * min(voxel) else 1 for k, v in zip(kernel, voxel, strict=True)
        ]
        kernels.append(_triple(kernel))
        strides.append(_triple([2 if a in axes else 1 for a in range(3)]))
        for axis in axes:
            length[axis], voxel[axis] = -(-length[axis] // 2), 2 * voxel[axis]
    kernels.append((3, 3, 3))
    found = Topology(_triple(size), tuple(strides), tuple(kernels))
    grown = [-(-n // d) * d for n, d in zip(size, found.divisors, strict=True)]
    return Topology(_triple(grown), found.strides, found.kernels)


def first_patch(shape: Sequence[int], spacing: Sequence[float]) -> Shape:
    """Return a patch as long in mm along each axis, too large to train on, within the scan."""
    volume = math.prod(spacing)
    lengths = [round((FIRST * volume) ** (1 / 3) / length) for length in spacing]
    return _triple([max(1, min(n, m)) for n, m in zip(lengths, shape, strict=True)])


def fitting(
    shape: Sequence[int],
    spacing: Sequence[float],
    fits: Callable[[Topology], bool],
    divisors: Shape | None = None,
) -> Topology:
    """Return the largest patch for which a step can be afforded, with its network.

    While it cannot, the axis that covers most of the scan becomes shorter by one multiple.

    Args:
        shape: of the median scan in voxels.
        spacing: of the voxels in mm.
        fits: whether a step with a topology can be afforded.
        divisors: of a network that is given.
    """
    found = topology(first_patch(shape, spacing), spacing)
    if divisors is not None:
        found = fixed(found.patch, divisors)
    for _ in range(1000):
        if fits(found):
            break
        steps = divisors or found.divisors
        axes = [a for a in range(3) if found.patch[a] > max(steps[a], 2 * SHORTEST)]
        if not axes:
            break
        axis = max(axes, key=lambda a: found.patch[a] / shape[a])
        shorter = [n - steps[a] * (a == axis) for a, n in enumerate(found.patch)]
        found = topology(shorter, spacing) if divisors is None else fixed(shorter, divisors)
    return found


def fixed(size: Sequence[int], divisors: Shape) -> Topology:
    """Return a patch, grown where it must be, for a network that is given."""
    patch = [-(-n // d) * d for n, d in zip(size, divisors, strict=True)]
    return Topology(_triple(patch), (divisors,), ())


def _triple(values: Sequence[int]) -> Shape:
    x, y, z = values
    return x, y, z
