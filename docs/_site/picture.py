"""Draw the picture of the README from a finished run on the phantom.

python docs/_site/picture.py RUN_DIR docs/figures/phantom.png
"""

from __future__ import annotations

import argparse
from pathlib import Path

import matplotlib

matplotlib.use("agg")
import matplotlib.pyplot as plt
import nibabel as nib
import numpy as np

from neoseg import label_space
from neoseg.foreign import read_config

HIDDEN = "TCV"  # the class of which `annotation=superclass` tells the whole


def plane(path: Path) -> np.ndarray:
    """Return an axial plane through the middle, nose up."""
    volume = np.asarray(nib.as_closest_canonical(nib.load(path)).dataobj)
    return np.rot90(volume[:, :, int(volume.shape[2] * 0.55)])


def draw(run: Path, target: Path) -> None:
    """Draw the scan, what was drawn in full, what the others tell, and what the network gives."""
    space = label_space("drawem9")
    found = sorted(run.glob("segmentations/sub-*/ses-*/anat/*_dseg.nii.gz"))[-1]
    subject, session = found.parts[-4], found.parts[-3]
    truth = plane(source(run, f"{subject}_{session}_desc-drawem9_dseg"))
    values = [leaf.index for leaf in space.leaves]
    positions = np.searchsorted(values, truth)
    shades = np.array([matplotlib.colors.to_rgb(leaf.color) for leaf in space.leaves])
    inside = np.isin(positions, sorted(space.label_set(HIDDEN)))
    told = np.where(inside[..., None], matplotlib.colors.to_rgb("#f9a825"), shades[positions])
    given = shades[np.searchsorted(values, plane(found))]
    panels = [
        ("a scan", plane(source(run, f"{subject}_{session}_desc-restore_T2w"))),
        ("drawn in full: one of 19", shades[positions]),
        ("the others: yellow is one of 3", told),
        ("what the network gives", given),
    ]
    figure, axes = plt.subplots(1, 4, figsize=(11, 3.4), layout="constrained")
    for axis, (title, picture) in zip(axes, panels, strict=True):
        axis.imshow(picture, cmap="gray", interpolation="nearest")
        axis.set_title(title, fontsize=10)
        axis.set_axis_off()
    target.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(target, dpi=110)


def source(run: Path, name: str) -> Path:
    """Return a file of the phantom that a run was trained on."""
    data = read_config(run / "config.yaml")["paths"]["data"]
    return next(Path(data).glob(f"phantom/*/**/{name}.nii.gz"))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("run", type=Path)
    parser.add_argument("output", type=Path)
    arguments = parser.parse_args()
    draw(arguments.run, arguments.output)
