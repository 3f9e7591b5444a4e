"""Computed tomography (CT): how it is recognised."""

import numpy as np

from neoseg.cohort import Cohort, Scan
from neoseg.cohort.scan import names_ct
from neoseg.store.brightness import sampled

AIR = -500.0
"""In a CT the first percentile is below this value (Hounsfield units), in an MRI it never is."""

SOFT_TISSUE = (-160.0, 240.0)
"""Window of the soft tissue of an abdomen in Hounsfield units: 400 wide, about 40."""

RANGE = (-1000.0, 1000.0)
"""From air to bone, in Hounsfield units."""


def is_in_hounsfield(data: np.ndarray) -> bool:
    """Return whether an image has as much air as a CT in Hounsfield units."""
    return bool(np.percentile(sampled(data), 1) < AIR)


def is_called_ct(scan: Scan, cohort: Cohort) -> bool:
    """Return whether the name of the first image, or the data set, calls a scan a CT."""
    return scan.computed or names_ct(cohort.modalities[0])
