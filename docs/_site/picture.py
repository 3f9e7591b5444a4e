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
    images = run.glob(f"**/{subject}_{session}*T2w.nii.gz")
    image = next(iter(images), None) or next(source(run, subject, session, "desc-restore_T2w"))
    truth = plane(next(source(run, subject, session, "desc-drawem9_dseg")))
    values = [leaf.index for leaf in space.leaves]
    positions = np.searchsorted(values, truth)
    shades = np.array([matplotlib.colors.to_rgb(leaf.color) for leaf in space.leaves])
    inside = np.isin(positions, sorted(space.label_set(HIDDEN)))
    told = np.where(inside[..., None], matplotlib.colors.to_rgb("#f9a825"), shades[positions])
    given = shades[np.searchsorted(values, plane(found))]
    scan = plane(image)
    panels = [
        ("a scan", scan),
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


def source(run: Path, subject: str, session: str, ending: str):
    """Yield the files of the phantom that a run was trained on."""
    data = Path(
        next(
            line.split(": ", 1)[1]
            for line in (run / "config.yaml").read_text().splitlines()
            if line.startswith("  data: ")
        )
    )
    yield from data.glob(f"phantom/*/**/{subject}_{session}_{ending}.nii.gz")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("run", type=Path)
    parser.add_argument("output", type=Path)
    arguments = parser.parse_args()
    draw(arguments.run, arguments.output)
