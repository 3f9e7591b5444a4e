"""Class probabilities of a scan: kept on disk while they come, written as BIDS derivatives."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import numpy as np

from neoseg.files import replacing
from neoseg.inference.dataset import DESC, Provenance, describe, tables_locked
from neoseg.inference.derivative import derivative_path, image_like, open_source, require_inside
from neoseg.labels import LabelSpace
from neoseg.store import Geometry, to_canonical, to_native

STEPS = 65535
"""NIfTI has no 16-bit floating point: a file holds whole numbers of 1 / 65535."""


@dataclass(frozen=True)
class ClassProbabilities:
    """Probabilities of some classes of a scan.

    Attributes:
        classes: their positions.
        values: float16 `[len(classes), *grid]`, canonical axes; maybe a file in memory.
        outside: the probability of each class where nothing was predicted.
        geometry: of the scan.
        canonical: the grid is the whole of the scan's own; else it is cropped to the prepared part.
    """

    classes: tuple[int, ...]
    values: np.ndarray
    outside: tuple[float, ...]
    geometry: Geometry
    canonical: bool = False

    def native(self, number: int) -> np.ndarray:
        """Return the values of one class on the file's own grid, float32 in 0 to 1."""
        part = np.asarray(self.values[number], dtype=np.float32)
        if not self.canonical:
            part = to_canonical(part, self.geometry, self.outside[number])
        return to_native(part, self.geometry)


def room_for(classes: int, shape: Sequence[int], scratch: Path | None) -> np.ndarray:
    """Return zeros float16 `[classes, *shape]`, in an unnamed file of `scratch` where it is given.

    The file is gone with the array, also when the process is killed.
    """
    size = (classes, *shape)
    if scratch is None or classes == 0:
        return np.zeros(size, dtype=np.float16)
    scratch.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryFile(dir=scratch) as handle:
        return np.memmap(handle, dtype=np.float16, mode="w+", shape=size)


def values_outside(space: LabelSpace, classes: Sequence[int]) -> tuple[float, ...]:
    """Return the probability of each class in a voxel that is background for certain."""
    return tuple(float(space.class_leaves[c, space.background]) for c in classes)


def probability_paths(
    output: Path, source: Path, space: LabelSpace, classes: Sequence[int]
) -> list[Path]:
    """Return the file of each class, `..._label-<abbreviation>_desc-neoseg_probseg.nii.gz`.

    BIDS labels have letters and digits only: other characters go, and where two classes are then
    called alike, their positions in the table are added.
    """
    labels = [re.sub("[^0-9A-Za-z]", "", entry.abbreviation) for entry in space.classes]
    labels = [f"{text}{n}" if labels.count(text) > 1 else text for n, text in enumerate(labels)]
    path = derivative_path(output, source)
    ending = f"_desc-{DESC}_dseg.nii.gz"
    start = path.name.removesuffix(ending)
    names = [f"{start}_label-{labels[c]}_desc-{DESC}_probseg.nii.gz" for c in classes]
    return [path.with_name(name) for name in names]


def write_probabilities(
    output: Path,
    source: Path,
    probabilities: ClassProbabilities,
    space: LabelSpace,
    provenance: Provenance,
) -> list[Path]:
    """Write one file per class, 16 bits a voxel, on the grid of `source`.

    Args:
        output: root of the derivative data set; made where it is missing.
        source: the NIfTI file that was segmented; its grid is copied.
        probabilities: one at a time is brought to that grid.
        space: gives the names.
        provenance: goes into `dataset_description.json`.

    Raises:
        DerivativeError: a folder that belongs to another data set or label table, or a target
            outside `output`.
    """
    image = open_source(source)
    paths = probability_paths(output, source, space, probabilities.classes)
    require_inside(output, paths[0], source)
    output.mkdir(parents=True, exist_ok=True)
    with tables_locked(output):
        describe(output, space, provenance)
    for number, path in enumerate(paths):
        # Rounded to float16 the mean of sure networks can be a little above 1.
        values = probabilities.native(number).clip(0, 1)
        steps = np.rint(values * STEPS).astype(np.uint16)
        with replacing(path) as temporary:
            nib.save(image_like(image, steps, 1 / STEPS), temporary)
    return paths
