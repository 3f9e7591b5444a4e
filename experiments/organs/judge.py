"""Compare what registered atlases wrote into scans with what is there: `judge.py RUN_DIR`."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
from make_data import NAMES, SEEDS, scan

DRAWN = {"liver": ("liver_tissue", "liver_tumour"), "spleen": ("spleen",)}
DRAWN["pancreas"] = ("pancreas_tissue", "pancreas_tumour")


def main(run: Path) -> None:
    """Print a row for each structure, over the scans in which it was not drawn."""
    right, there, written = (np.zeros(len(NAMES), int) for _ in range(3))
    for path in sorted((run / "pseudo_labels").rglob("*_desc-neoseg_dseg.nii.gz")):
        found = re.match(r"sub-([a-z]+)(\d+)_", path.name)
        assert found is not None
        truth = scan(np.random.default_rng([SEEDS[found[1]], int(found[2])]))[1]
        labels = np.asarray(nib.load(path).dataobj)
        for index, name in enumerate(NAMES[1:], start=1):
            if name not in DRAWN[found[1]]:
                right[index] += ((labels == index) & (truth == index)).sum()
                there[index] += (truth == index).sum()
                written[index] += (labels == index).sum()
    print("| structure | voxels | written | Dice |\n| --- | ---: | ---: | ---: |")
    for index, name in enumerate(NAMES[1:], start=1):
        dice = 2 * right[index] / (there[index] + written[index])
        print(f"| {name} | {there[index]} | {written[index]} | {dice:.3f} |")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
