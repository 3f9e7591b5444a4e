"""A scan read once: files of volumes, their checks, preparation, and the entries that are kept."""

from neoseg.store.damage import DataError
from neoseg.store.preprocess import (
    Geometry,
    prepare_images,
    prepare_labels,
    to_canonical,
    to_native,
)
from neoseg.store.settings import PrepareSettings
from neoseg.store.volume import read_volume

__all__ = [
    "DataError",
    "Geometry",
    "PrepareSettings",
    "prepare_images",
    "prepare_labels",
    "read_volume",
    "to_canonical",
    "to_native",
]
