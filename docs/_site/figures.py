"""Figures of the site, drawn from neoseg's own types: the same bytes each time."""

from __future__ import annotations

import io
from collections.abc import Callable

import matplotlib

matplotlib.use("svg")
import matplotlib.pyplot as plt
import numpy as np

from neoseg import label_space
from neoseg.labels import Codebook, Protocol

TOLD = {1: ("in", "#2e7d32"), 0: ("out", "#b0bec5"), -1: ("unknown", "#f9a825")}


def membership() -> bytes:
    """Codes of a codebook by classes: what a voxel that is told so says about each."""
    space = label_space("drawem9")
    sets = Protocol.parse(space, {"name": "superclass", "merge": ["TCV"]}).sets
    codebook = Codebook.build(space, sets)
    table = codebook.membership
    classes = [entry.abbreviation for entry in space.classes]
    leaves = [space.leaves[k].abbreviation for k in range(space.num_leaves)]
    rows = [", ".join(leaves[k] for k in sorted(found)) for found in codebook.sets]
    rows = [
        "anything (not annotated)" if len(s) == space.num_leaves else r
        for s, r in zip(codebook.sets, rows, strict=True)
    ]
    figure, axes = plt.subplots(figsize=(8, 0.36 * len(rows) + 1.2), layout="constrained")
    colors = np.array(
        [[matplotlib.colors.to_rgb(TOLD[v][1]) for v in row] for row in table.tolist()]
    )
    axes.imshow(colors, aspect="auto")
    axes.set_xticks(range(len(classes)), classes)
    axes.set_yticks(range(len(rows)), rows)
    axes.xaxis.tick_top()
    axes.set_xticks(np.arange(len(classes) + 1) - 0.5, minor=True)
    axes.set_yticks(np.arange(len(rows) + 1) - 0.5, minor=True)
    axes.grid(which="minor", color="white", linewidth=2)
    axes.tick_params(which="both", length=0)
    handles = [plt.Rectangle((0, 0), 1, 1, color=c) for _, c in TOLD.values()]
    axes.legend(
        handles,
        [n for n, _ in TOLD.values()],
        loc="upper center",
        bbox_to_anchor=(0.5, -0.02),
        ncols=3,
        frameon=False,
    )
    axes.set_frame_on(False)
    file = io.BytesIO()
    with matplotlib.rc_context({"svg.hashsalt": "neoseg"}):
        figure.savefig(file, format="svg", metadata={"Date": None})
    plt.close(figure)
    return file.getvalue()


FIGURES: dict[str, Callable[[], bytes]] = {"figures/label-sets.svg": membership}
