"""Copy some scans of the hippocampus set and break labels of a few on purpose.

python experiments/audit/break_labels.py TASK04_FOLDER OUTPUT
"""

from __future__ import annotations

import argparse
import csv
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
from scipy import ndimage

from neoseg.cohort.split import shuffled

SCANS = 60
COUNTS = {"shift": 3, "not_drawn": 5, "parts": 5, "slices": 3, "island": 3, "outline": 5}
KINDS = {"parts": "border", "outline": "border"}
"""What the audit calls them, where it has another word."""

VOXELS = 3


def shift(labels: np.ndarray, number: int) -> np.ndarray:
    """Displace all labels along one axis; another one in each scan."""
    return np.roll(labels, VOXELS, axis=number % 3)


def not_drawn(labels: np.ndarray, number: int) -> np.ndarray:
    """Leave out the anterior or the posterior part."""
    return np.where(labels == 1 + number % 2, 0, labels)


def parts(labels: np.ndarray, number: int) -> np.ndarray:
    """Move the border of the two parts along the second axis, to the front or to the back."""
    moved = np.roll(labels, VOXELS if number % 2 else -VOXELS, axis=1)
    return np.where((labels > 0) & (moved > 0), moved, labels)


def slices(labels: np.ndarray, number: int) -> np.ndarray:
    """Empty two planes through the middle of the posterior part."""
    broken = labels.copy()
    middle = int(np.median(np.nonzero(labels == 2)[1]))
    broken[:, middle : middle + 2] = 0
    return broken


def island(labels: np.ndarray, number: int) -> np.ndarray:
    """Put a blob of the anterior part into the corner that is furthest from it."""
    broken = labels.copy()
    centre = np.array(np.nonzero(labels)).mean(axis=1)
    low = [2 if c > n / 2 else n - 5 for c, n in zip(centre, labels.shape, strict=True)]
    broken[tuple(slice(first, first + 3) for first in low)] = 1
    return broken


def outline(labels: np.ndarray, number: int) -> np.ndarray:
    """Draw the whole one voxel further out, or one further in."""
    if number % 2:
        return np.where(ndimage.binary_erosion(labels > 0), labels, 0)
    wider = ndimage.binary_dilation(labels > 0)
    nearest = ndimage.distance_transform_edt(
        labels == 0, return_distances=False, return_indices=True
    )
    return np.where(wider, labels[tuple(nearest)], 0)


BREAKS: dict[str, Callable[[np.ndarray, int], np.ndarray]] = {
    "shift": shift,
    "not_drawn": not_drawn,
    "parts": parts,
    "slices": slices,
    "island": island,
    "outline": outline,
}


def main() -> None:
    """Write OUTPUT, a folder like the set's own, and OUTPUT/broken.csv."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("source", type=Path)
    parser.add_argument("output", type=Path)
    given = parser.parse_args()
    told = json.loads((given.source / "dataset.json").read_text())
    names = [Path(row["label"]).name for row in told["training"]]
    chosen = shuffled(names, "audit")[:SCANS]
    faults = [(kind, n) for kind, count in COUNTS.items() for n in range(count)]
    for folder in ("imagesTr", "labelsTr"):
        (given.output / folder).mkdir(parents=True, exist_ok=True)
        for name in chosen:
            shutil.copy(given.source / folder / name, given.output / folder / name)
    rows = []
    for name, (kind, number) in zip(chosen, faults, strict=False):
        path = given.output / "labelsTr" / name
        file = nib.load(given.source / "labelsTr" / name)
        labels = np.asarray(file.dataobj).astype(np.uint8)
        broken = BREAKS[kind](labels, number).astype(np.uint8)
        nib.save(nib.Nifti1Image(broken, file.affine, dtype=np.uint8), path)
        subject = name.removesuffix(".nii.gz").replace("_", "")
        rows.append([subject, KINDS.get(kind, kind), kind, int((broken != labels).sum())])
    told["training"] = [row for row in told["training"] if Path(row["label"]).name in chosen]
    told["numTraining"] = len(chosen)
    (given.output / "dataset.json").write_text(json.dumps(told, indent=1) + "\n")
    with (given.output / "broken.csv").open("w", newline="") as stream:
        csv.writer(stream).writerows([["subject", "kind", "fault", "voxels"], *rows])


if __name__ == "__main__":
    main()
