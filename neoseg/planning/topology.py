"""Choose patch size and U-Net topology from the shape of the scans by the rules of nnU-Net.

Isensee et al., Nature Methods 18 (2021) 203-211, and nnU-Net's `ExperimentPlanner` and
`get_pool_and_conv_props`.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from neoseg.findings.settings import ConfigError

ANISOTROPY = 3.0
"""Ratio of voxel sizes above which the coarsest axis is treated separately."""

SHORTEST = 4
"""Smallest length of an axis in voxels at the bottom of the network."""

MAX_POOLINGS = 5
MAX_CHANNELS = 320
"""Largest number of channels of a level in 3D."""

SUMMED_HEADS = "neoseg.networks.summed_heads.SummedHeads"

START_VOXELS = 256**3
"""Voxels of the patch with which the search starts."""

Shape = tuple[int, int, int]
T = TypeVar("T")


@dataclass(frozen=True)
class Topology:
    """Patch size and U-Net topology.

    Attributes:
        patch: voxels along X, Y, Z.
        strides: strides of each level along X, Y, Z; those of the first level are 1.
        kernels: kernel sizes of the convolutions of each level.
    """

    patch: Shape
    strides: tuple[Shape, ...]
    kernels: tuple[Shape, ...]

    @property
    def divisors(self) -> Shape:
        """Divisors of the patch size along X, Y, Z: the products of the strides."""
        return triple([math.prod(stride[a] for stride in self.strides) for a in range(3)])

    def network(self, width: int, deep: bool, classes: int) -> dict[str, Any]:
        """Return a `conf/network` entry with `width` channels at the first level.

        If there are more classes than that, heads at several levels, whose logits are summed,
        replace deep supervision.
        """
        levels = len(self.strides)
        x, y, z = self.divisors
        net = {
            "_target_": "monai.networks.nets.DynUNet",
            "spatial_dims": 3,
            "kernel_size": [list(kernel) for kernel in self.kernels],
            "strides": [list(stride) for stride in self.strides],
            "upsample_kernel_size": [list(stride) for stride in self.strides[1:]],
            "filters": [min(width << level, MAX_CHANNELS) for level in range(levels)],
            "norm_name": ["INSTANCE", {"affine": True}],
            "act_name": ["leakyrelu", {"negative_slope": 0.01, "inplace": True}],
            "res_block": False,
        }
        if classes > width and levels > 2:
            net |= {"_target_": SUMMED_HEADS, "summed": min(3, levels - 1)}
        else:
            net["deep_supervision"] = deep and levels > 3
        if net.get("deep_supervision"):
            net["deep_supr_num"] = min(2, levels - 3)
        return {"name": "planned", "divisor": x if x == y == z else [x, y, z], "net": net}


def topology(size: Sequence[int], spacing: Sequence[float], grow: bool = True) -> Topology:
    """Return the U-Net topology for a patch, enlarged to a multiple of its divisors.

    An axis is halved while it stays at least 4 voxels long and its voxels are less than twice as
    long as the shortest. Its kernel size is 1 while its voxels are longer than that.

    Args:
        size: patch size in voxels.
        spacing: voxel size in mm.
        grow: False keeps the patch size; axes of odd length are then not halved.
    """
    length, voxel = list(size), list(spacing)
    strides: list[Shape] = [(1, 1, 1)]
    kernels: list[Shape] = []
    kernel = [1, 1, 1]
    while len(strides) <= MAX_POOLINGS:
        axes = [a for a in range(3) if length[a] >= 2 * SHORTEST and (grow or length[a] % 2 == 0)]
        axes = [a for a in axes if voxel[a] < 2 * min(voxel[b] for b in axes)]
        if not axes or (len(axes) == 1 and length[axes[0]] < 3 * SHORTEST):
            break
        kernel = [
            3 if k == 3 or v < 2 * min(voxel) else 1 for k, v in zip(kernel, voxel, strict=True)
        ]
        kernels.append(triple(kernel))
        strides.append(triple([2 if a in axes else 1 for a in range(3)]))
        for axis in axes:
            length[axis], voxel[axis] = -(-length[axis] // 2), 2 * voxel[axis]
    kernels.append((3, 3, 3))
    exact = Topology(triple(size), tuple(strides), tuple(kernels))
    grown = [-(-n // d) * d for n, d in zip(size, exact.divisors, strict=True)]
    return Topology(triple(grown), exact.strides, exact.kernels)


def first_patch(shape: Sequence[int], spacing: Sequence[float]) -> Shape:
    """Return the initial patch: a cube in mm, too large to train on, clipped to the scan."""
    volume = math.prod(spacing)
    lengths = [round((START_VOXELS * volume) ** (1 / 3) / length) for length in spacing]
    return triple([max(1, min(n, m)) for n, m in zip(lengths, shape, strict=True)])


def fitting(
    shape: Sequence[int],
    spacing: Sequence[float],
    fits: Callable[[Topology], bool],
    divisors: Shape | None = None,
) -> Topology:
    """Return the largest affordable patch with its topology.

    Until the patch is affordable, the axis that covers the largest share of the scan is shortened
    by its divisor.

    Args:
        shape: shape of the median scan in voxels.
        spacing: voxel size in mm.
        fits: returns whether a step with a topology is affordable.
        divisors: divisors of a given network.

    Raises:
        ConfigError: the scans are too small for a U-Net of two levels, and no network is given.
    """
    candidate = topology(first_patch(shape, spacing), spacing)
    if divisors is None and len(candidate.strides) == 1:
        raise ConfigError(
            f"scans of {' x '.join(map(str, shape))} voxels are too small to plan for, an axis of "
            f"{3 * SHORTEST} or two of {2 * SHORTEST} voxels are needed: set network and "
            "patches.size, with plan=none"
        )
    if divisors is not None:
        candidate = fixed(candidate.patch, divisors)
    for _ in range(1000):
        if fits(candidate):
            break
        steps = divisors or candidate.divisors
        axes = [a for a in range(3) if candidate.patch[a] > max(steps[a], 2 * SHORTEST)]
        if not axes:
            break
        axis = max(axes, key=lambda a: candidate.patch[a] / shape[a])
        shorter = [n - steps[a] * (a == axis) for a, n in enumerate(candidate.patch)]
        candidate = topology(shorter, spacing) if divisors is None else fixed(shorter, divisors)
    return candidate


def fixed(size: Sequence[int], divisors: Shape) -> Topology:
    """Return the topology of a given network; the patch grows to a multiple of its divisors."""
    patch = [-(-n // d) * d for n, d in zip(size, divisors, strict=True)]
    return Topology(triple(patch), (divisors,), ())


def triple(values: Sequence[T]) -> tuple[T, T, T]:
    """Return a value for each axis as a tuple of fixed length."""
    x, y, z = values
    return x, y, z
