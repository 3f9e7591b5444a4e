"""Train segmentation networks on scans that are annotated to different depths.

The names below are the public API; each is imported on first use. Every command is a module of its
own: `python -m neoseg.train --help`.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:  # "as" tells a type checker that the name is public
    from neoseg.cohort import Cohort as Cohort
    from neoseg.cohort import Scan as Scan
    from neoseg.configuration.config import label_space as label_space
    from neoseg.configuration.run import RunConfig as RunConfig
    from neoseg.errors import NeosegError as NeosegError
    from neoseg.evaluation.scores import score_scan as score_scan
    from neoseg.inference.segmenter import Segmenter as Segmenter
    from neoseg.labels import Codebook as Codebook
    from neoseg.labels import Convention as Convention
    from neoseg.labels import LabelSpace as LabelSpace
    from neoseg.labels import Protocol as Protocol
    from neoseg.labels.targets import Targets as Targets
    from neoseg.losses import LossTerm as LossTerm
    from neoseg.losses import Objective as Objective
    from neoseg.losses import register_loss as register_loss
    from neoseg.patches.datamodule import MixedDataModule as MixedDataModule
    from neoseg.training.agreement import class_dice as class_dice
    from neoseg.training.module import ModuleSpec as ModuleSpec
    from neoseg.training.module import SegmentationModule as SegmentationModule

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

__all__ = ["__version__", *_MODULES]


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module 'neoseg' has no attribute '{name}'")
    return getattr(import_module(f"neoseg.{_MODULES[name]}"), name)


def __dir__() -> list[str]:
    return __all__
