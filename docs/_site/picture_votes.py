"""Draw what atlases and the image say of a partly labelled scan, from two runs on the phantom.

python docs/_site/picture_votes.py RUN_DIR RUN_WITH_INTENSITIES_FALSE docs/figures/votes.png
"""

from __future__ import annotations

import argparse
from pathlib import Path

import matplotlib

matplotlib.use("agg")
import matplotlib.pyplot as plt
import numpy as np
from picture import plane, source

from neoseg import label_space


def draw(run: Path, votes: Path, target: Path) -> None:
    """Draw a scan, the votes alone, the votes with the image, and the truth."""
    space = label_space("drawem9")
    values = [leaf.index for leaf in space.leaves]
    shades = np.array([matplotlib.colors.to_rgb(leaf.color) for leaf in space.leaves])
    found = sorted(run.glob("pseudo_labels/sub-*/ses-*/anat/*_dseg.nii.gz"))[0]
    name = f"{found.parts[-4]}_{found.parts[-3]}"
    files = {
        "votes alone": votes / found.relative_to(run),
        "votes and the image": found,
        "the truth, never seen": source(run, f"{name}_desc-drawem9_dseg"),
    }
    figure, axes = plt.subplots(1, 4, figsize=(11, 3.4), layout="constrained")
    axes[0].imshow(plane(source(run, f"{name}_desc-restore_T2w")), cmap="gray")
    axes[0].set_title("a scan whose cerebrum is told as one", fontsize=10)
    for axis, (title, path) in zip(axes[1:], files.items(), strict=True):
        axis.imshow(shades[np.searchsorted(values, plane(path))], interpolation="nearest")
        axis.set_title(title, fontsize=10)
    for axis in axes:
        axis.set_axis_off()
    figure.savefig(target, dpi=110)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("run", type=Path)
    parser.add_argument("votes", type=Path, help="of recipe.intensities=false")
    parser.add_argument("output", type=Path)
    arguments = parser.parse_args()
    draw(arguments.run, arguments.votes, arguments.output)
