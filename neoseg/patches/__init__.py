"""Stateless sampling of patches, streams in a batch, whole scans, and the data module.

The data module is imported from `neoseg.patches.datamodule`: loader workers import this package and
need not wait for Lightning.
"""

from neoseg.patches.batch import Batch
from neoseg.patches.dataset import PatchSettings, TrainingScan
from neoseg.patches.pseudo import (
    PseudoLabels,
    is_written,
    needs_prediction,
    restrict,
    write_pseudo_labels,
)
from neoseg.patches.volumes import VolumeDataset, VolumeSample

__all__ = [
    "Batch",
    "PatchSettings",
    "PseudoLabels",
    "TrainingScan",
    "VolumeDataset",
    "VolumeSample",
    "is_written",
    "needs_prediction",
    "restrict",
    "write_pseudo_labels",
]
