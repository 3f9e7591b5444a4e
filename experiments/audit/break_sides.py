"""Keep the two sides of the labels of a phantom, and exchange them in a few scans.

python experiments/audit/break_sides.py PHANTOM OUTPUT

PHANTOM is a folder of `neoseg.phantom`.
"""

from __future__ import annotations

import argparse
import csv
import json
import shutil
from pathlib import Path

import nibabel as nib
import numpy as np

from neoseg.cohort.split import shuffled
from neoseg.configuration.config import CONFIG_DIR
from neoseg.labels import LabelTable

SCANS, SWAPPED = 60, 3


def main() -> None:
    """Write OUTPUT, a folder of nnU-Net's kind, and OUTPUT/broken.csv."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("source", type=Path)
    parser.add_argument("output", type=Path)
    given = parser.parse_args()
    leaves = LabelTable.read(CONFIG_DIR / "labels" / "drawem87.yaml").leaves
    sides = np.zeros(256, dtype=np.uint8)
    for leaf in leaves:
        words = leaf.name.casefold().split()
        sides[leaf.index] = 1 if "left" in words else 2 if "right" in words else 0
    files = sorted(given.source.rglob("*_desc-drawem87_*dseg.nii.gz"))[:SCANS]
    for folder in ("imagesTr", "labelsTr"):
        (given.output / folder).mkdir(parents=True, exist_ok=True)
    cases = {}
    for path in files:
        stem = path.name.split("_desc-")[0].replace("_space-T2w", "")
        name = "".join(c for c in stem if c.isalnum())
        cases[name] = path
        image = next(path.parent.glob(f"{stem}_desc-restore_T2w.nii.gz"))
        shutil.copy(image, given.output / "imagesTr" / f"{name}_0000.nii.gz")
    swapped = shuffled(cases, "audit")[:SWAPPED]
    rows = []
    for name, path in cases.items():
        file = nib.load(path)
        labels = sides[np.asarray(file.dataobj).astype(np.uint8)]
        if name in swapped:
            rows.append([name, "swap", "swap", int((labels > 0).sum())])
            labels = np.array([0, 2, 1], dtype=np.uint8)[labels]
        target = given.output / "labelsTr" / f"{name}.nii.gz"
        nib.save(nib.Nifti1Image(labels, file.affine, dtype=np.uint8), target)
    told = {"channel_names": {"0": "T2w"}, "labels": {"background": 0, "Left": 1, "Right": 2}}
    told |= {"numTraining": len(cases), "file_ending": ".nii.gz"}
    (given.output / "dataset.json").write_text(json.dumps(told, indent=1) + "\n")
    with (given.output / "broken.csv").open("w", newline="") as stream:
        csv.writer(stream).writerows([["subject", "kind", "fault", "voxels"], *rows])


if __name__ == "__main__":
    main()
