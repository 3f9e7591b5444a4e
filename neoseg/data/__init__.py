"""Prepared store, stateless patch sampling, stream mixing, augmentation.

The data module is imported from `neoseg.data.datamodule`: loader workers import this package and
need not wait for Lightning.
"""

from neoseg.data.augment import AugmentSettings
from neoseg.data.batch import STREAMS, Batch
from neoseg.data.patches import PatchSettings, TrainingScan
from neoseg.data.preprocess import (
    Geometry,
    PrepareSettings,
    prepare_images,
    prepare_labels,
    restore_labels,
    to_canonical,
    to_native,
)
from neoseg.data.pseudo import (
    PseudoLabels,
    is_written,
    needs_prediction,
    restrict,
    write_pseudo_labels,
)
from neoseg.data.store import Store, StoreEntry, read_codes
from neoseg.data.volume import DataError, read_volume
from neoseg.data.whole import VolumeDataset, VolumeSample

__all__ = [
    "STREAMS",
    "AugmentSettings",
    "Batch",
    "DataError",
    "Geometry",
    "PatchSettings",
    "PrepareSettings",
    "PseudoLabels",
    "Store",
    "StoreEntry",
    "TrainingScan",
    "VolumeDataset",
    "VolumeSample",
    "is_written",
    "needs_prediction",
    "prepare_images",
    "prepare_labels",
    "read_codes",
    "read_volume",
    "restore_labels",
    "restrict",
    "to_canonical",
    "to_native",
    "write_pseudo_labels",
]
