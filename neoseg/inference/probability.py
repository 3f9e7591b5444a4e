"""Class probabilities of a scan: buffered on disk, written as BIDS derivatives."""

import math
import os
import re
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import numpy as np

from neoseg.files import replacing
from neoseg.findings.faults import is_full
from neoseg.inference.dataset import DESC, Provenance, describe, tables_locked
from neoseg.inference.derivative import derivative_path, image_like, open_source, require_inside
from neoseg.labels import LabelSpace
from neoseg.store import Geometry, to_canonical, to_native

STEPS = 65535
"""Steps between 0 and 1: NIfTI has no 16-bit floats, so files hold multiples of 1 / 65535."""


@dataclass(frozen=True)
class ClassProbabilities:
    """Probabilities of some classes of a scan.

    Attributes:
        classes: positions of the classes.
        values: float16 `[len(classes), *grid]`, canonical axes; possibly a memory map.
        outside: probability of each class outside the predicted region.
        geometry: of the scan.
        canonical: whether the grid is the full grid of the scan; else it is the prepared grid.
    """

    classes: tuple[int, ...]
    values: np.ndarray
    outside: tuple[float, ...]
    geometry: Geometry
    canonical: bool = False

    def native(self, number: int) -> np.ndarray:
        """Return the probabilities of one class on the grid of the file, float32."""
        part = np.asarray(self.values[number], dtype=np.float32)
        if not self.canonical:
            part = to_canonical(part, self.geometry, self.outside[number])
        return to_native(part, self.geometry)


def room_for(classes: int, shape: Sequence[int], scratch: Path | None) -> np.ndarray:
    """Allocate float16 zeros `[classes, *shape]`, in an unnamed file in `scratch` if given.

    The file disappears with the array, even if the process is killed.
    """
    size = (classes, *shape)
    if scratch is None or classes == 0:
        return np.zeros(size, dtype=np.float16)
    scratch.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryFile(dir=scratch) as handle:
        try:  # else a full disk would kill the process later
            os.posix_fallocate(handle.fileno(), 0, 2 * math.prod(size))
        except (AttributeError, OSError) as error:  # not on every system and file system
            if is_full(error):
                raise
        return np.memmap(handle, dtype=np.float16, mode="w+", shape=size)


def values_outside(space: LabelSpace, classes: Sequence[int]) -> tuple[float, ...]:
    """Return the probability of each class in a voxel that is certainly background."""
    return tuple(float(space.class_leaves[c, space.background]) for c in classes)


def probability_paths(
    output: Path, source: Path, space: LabelSpace, classes: Sequence[int]
) -> list[Path]:
    """Return the file of each class, `..._label-<abbreviation>_desc-neoseg_probseg.nii.gz`.

    BIDS labels consist of letters and digits: other characters are removed, and positions in the
    table are appended to labels that are then equal.
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
    """Write one file per class, 16 bits per voxel, on the grid of `source`.

    Args:
        output: root of the derivative data set; created if missing.
        source: the file that was segmented; its grid is copied.
        probabilities: mapped to that grid one class at a time.
        space: defines the names.
        provenance: recorded in `dataset_description.json`.

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
        # Rounded to float16, the mean of certain networks can be slightly above 1.
        values = probabilities.native(number).clip(0, 1)
        steps = np.rint(values * STEPS).astype(np.uint16)
        with replacing(path) as temporary:
            nib.save(image_like(image, steps, 1 / STEPS), temporary)
    return paths
