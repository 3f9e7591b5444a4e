"""Loss terms on label sets, one a file, and the objective that sums them."""

from neoseg.losses.objective import Objective, Ramp
from neoseg.losses.registry import REGISTRY, LossError, describe, find_term, terms_for
from neoseg.losses.term import LossTerm, Prediction

__all__ = [
    "REGISTRY",
    "LossError",
    "LossTerm",
    "Objective",
    "Prediction",
    "Ramp",
    "describe",
    "find_term",
    "terms_for",
]
