"""A scan read once: NIfTI files, their checks, preparation, and the entries that are kept."""

from neoseg.store.nifti import DataError
from neoseg.store.preprocess import (
    Geometry,
    PrepareSettings,
    prepare_images,
    prepare_labels,
    to_canonical,
    to_native,
)
from neoseg.store.reading import read_codes
from neoseg.store.store import Store
from neoseg.store.volume import read_volume

__all__ = [
    "DataError",
    "Geometry",
    "PrepareSettings",
    "Store",
    "prepare_images",
    "prepare_labels",
    "read_codes",
    "read_volume",
    "to_canonical",
    "to_native",
]
