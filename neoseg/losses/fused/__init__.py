"""Losses without volumes of one-hot labels or probabilities, in two passes over slabs of voxels.

`SumTerm` is for losses that are functions of sums over voxels (Dice-like, cross-entropy-like),
`VoxelTerm` for losses that sum one function over all voxels.
"""

from neoseg.losses.fused.sums import Sums, accumulate
from neoseg.losses.fused.terms import SumTerm, VoxelTerm, soft_dice
from neoseg.losses.fused.voxels import voxel_sums

__all__ = ["SumTerm", "Sums", "VoxelTerm", "accumulate", "soft_dice", "voxel_sums"]
