"""Prepared store, stateless patch sampling, stream mixing, augmentation, the data module."""

from neoseg.data.batch import STREAMS, Batch
from neoseg.data.datamodule import Annotated, MixedDataModule
from neoseg.data.patches import AugmentSettings, PatchSettings, VolumeSample
from neoseg.data.preprocess import (
    Geometry,
    PrepareSettings,
    prepare_images,
    prepare_labels,
    restore_labels,
    to_canonical,
    to_native,
)
from neoseg.data.store import Store, StoreEntry, read_codes
from neoseg.data.volume import DataError, read_volume

__all__ = [
    "STREAMS",
    "Annotated",
    "AugmentSettings",
    "Batch",
    "DataError",
    "Geometry",
    "MixedDataModule",
    "PatchSettings",
    "PrepareSettings",
    "Store",
    "StoreEntry",
    "VolumeSample",
    "prepare_images",
    "prepare_labels",
    "read_codes",
    "read_volume",
    "restore_labels",
    "to_canonical",
    "to_native",
]
