"""Prediction of whole volumes, and what is written of it: BIDS derivatives and pictures."""

from neoseg.inference.dataset import DESC, DerivativeError, Provenance, other_makers
from neoseg.inference.derivative import derivative_path, plan_derivatives, write_derivative
from neoseg.inference.ensemble import Ensemble
from neoseg.inference.forward import mirror_partners
from neoseg.inference.inputs import ScanFiles, find_scans
from neoseg.inference.overlay import write_overlay
from neoseg.inference.probability import (
    ClassProbabilities,
    probability_paths,
    write_probabilities,
)
from neoseg.inference.segmenter import Segmentation, Segmenter
from neoseg.inference.window import (
    WindowSettings,
    leaf_map,
    predict_logits,
    predict_pieces,
    predict_probabilities,
    predict_volume,
    probability_map,
)

__all__ = [
    "DESC",
    "ClassProbabilities",
    "DerivativeError",
    "Ensemble",
    "Provenance",
    "ScanFiles",
    "Segmentation",
    "Segmenter",
    "WindowSettings",
    "derivative_path",
    "find_scans",
    "leaf_map",
    "mirror_partners",
    "other_makers",
    "plan_derivatives",
    "predict_logits",
    "predict_pieces",
    "predict_probabilities",
    "predict_volume",
    "probability_map",
    "probability_paths",
    "write_derivative",
    "write_overlay",
    "write_probabilities",
]
