"""Train segmentation networks on scans that are annotated to different depths.

The names below are the public API; each is imported on first use. Every command is a module of its
own: `python -m neoseg.train --help`.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from neoseg.cohort import Cohort, Scan
    from neoseg.configuration.config import label_space
    from neoseg.configuration.run import RunConfig
    from neoseg.errors import NeosegError
    from neoseg.evaluation.scores import score_scan
    from neoseg.inference.segmenter import Segmenter
    from neoseg.labels import Codebook, Convention, LabelSpace, Protocol
    from neoseg.labels.targets import Targets
    from neoseg.losses import LossTerm, Objective, register_loss
    from neoseg.patches.datamodule import MixedDataModule
    from neoseg.training.agreement import class_dice
    from neoseg.training.module import ModuleSpec, SegmentationModule

_MODULES = {
    "Codebook": "labels",
    "Cohort": "cohort",
    "Convention": "labels",
    "LabelSpace": "labels",
    "LossTerm": "losses",
    "MixedDataModule": "patches.datamodule",
    "ModuleSpec": "training.module",
    "NeosegError": "errors",
    "Objective": "losses",
    "Protocol": "labels",
    "RunConfig": "configuration.run",
    "Scan": "cohort",
    "SegmentationModule": "training.module",
    "Segmenter": "inference.segmenter",
    "Targets": "labels.targets",
    "class_dice": "training.agreement",
    "label_space": "configuration.config",
    "register_loss": "losses",
    "score_scan": "evaluation.scores",
}
"""Module of each public name, relative to the package."""

__all__ = [
    "Codebook",
    "Cohort",
    "Convention",
    "LabelSpace",
    "LossTerm",
    "MixedDataModule",
    "ModuleSpec",
    "NeosegError",
    "Objective",
    "Protocol",
    "RunConfig",
    "Scan",
    "SegmentationModule",
    "Segmenter",
    "Targets",
    "__version__",
    "class_dice",
    "label_space",
    "register_loss",
    "score_scan",
]


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module 'neoseg' has no attribute '{name}'")
    return getattr(import_module(f"neoseg.{_MODULES[name]}"), name)


def __dir__() -> list[str]:
    return __all__
