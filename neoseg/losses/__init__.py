"""Loss terms on label sets, one per file, and the objective that sums them."""

from neoseg.losses.build import describe
from neoseg.losses.fused import Sums, SumTerm, VoxelTerm
from neoseg.losses.objective import Objective
from neoseg.losses.registry import LossError, find_term, names, register_loss
from neoseg.losses.term import DenseTerm, LossTerm, Prediction

__all__ = [
    "DenseTerm",
    "LossError",
    "LossTerm",
    "Objective",
    "Prediction",
    "SumTerm",
    "Sums",
    "VoxelTerm",
    "describe",
    "find_term",
    "names",
    "register_loss",
]
