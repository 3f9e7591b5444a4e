"""Prediction of whole volumes, and what is written of it: BIDS derivatives and pictures."""

from neoseg.inference.dataset import DESC, DerivativeError, Provenance
from neoseg.inference.derivative import derivative_path, plan_derivatives, write_derivative
from neoseg.inference.inputs import ScanFiles, find_scans
from neoseg.inference.overlay import write_overlay
from neoseg.inference.pseudo import PseudoLabeller
from neoseg.inference.segmenter import Segmentation, Segmenter
from neoseg.inference.window import (
    WindowSettings,
    predict_logits,
    predict_probabilities,
    predict_volume,
)

__all__ = [
    "DESC",
    "DerivativeError",
    "Provenance",
    "PseudoLabeller",
    "ScanFiles",
    "Segmentation",
    "Segmenter",
    "WindowSettings",
    "derivative_path",
    "find_scans",
    "plan_derivatives",
    "predict_logits",
    "predict_probabilities",
    "predict_volume",
    "write_derivative",
    "write_overlay",
]
