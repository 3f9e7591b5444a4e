"""Loss terms on label sets, one a file, and the objective that sums them."""

from neoseg.losses.build import describe
from neoseg.losses.objective import Objective, Ramp
from neoseg.losses.registry import LossError, find_term, names, register_loss, terms_for
from neoseg.losses.term import LossTerm, Prediction

__all__ = [
    "LossError",
    "LossTerm",
    "Objective",
    "Prediction",
    "Ramp",
    "describe",
    "find_term",
    "names",
    "register_loss",
    "terms_for",
]
