"""A sheet of patches, one a row: the images that were made of it, side by side."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from neoseg.files import replacing
from neoseg.inference.overlay import paint, palette_of
from neoseg.inference.planes import cut, grey_in, grey_window, square
from neoseg.labels import Codebook

OPACITY = 0.55
GAP = 2
"""Pixels between planes and modalities."""

INCHES = 3.6
"""Width of a panel."""

MOST_NAMES = 30
NAME_INCHES = 1.45


@dataclass(frozen=True)
class Panel:
    """One look at a patch: image `[M, X, Y, Z]` and, to be laid over it, codes `[X, Y, Z]`."""

    name: str
    image: np.ndarray
    codes: np.ndarray | None = None


@dataclass(frozen=True)
class Sample:
    """One row: where the patch comes from, what was done to it, and its panels.

    All panels are drawn with the grey values of the first, so that a change of contrast shows.
    `spacing` is the voxel size in mm.
    """

    title: str
    changes: str
    spacing: Sequence[float]
    panels: tuple[Panel, ...]


def write_sheet(path: Path, samples: Sequence[Sample], codebook: Codebook) -> Path:
    """Draw samples with the middle planes of each panel and save them as PNG.

    Sagittal, coronal and axial planes lie beside each other, modalities below each other; of a
    slice there is its one plane. Where nothing is known the overlay is grey. There is at least one
    sample, and all have the same panels.
    """
    rows = [_strips(sample, codebook) for sample in samples]
    columns = len(samples[0].panels)
    height, width = np.max([strip.shape[:2] for row in rows for strip in row], axis=0)
    laid_over = [p.codes for s in samples for p in s.panels if p.codes is not None]
    used = sorted({int(code) for codes in laid_over for code in np.unique(codes)})
    names_a_line = max(1, int(INCHES * columns / NAME_INCHES))
    lines = -(-min(len(used), MOST_NAMES + 1) // names_a_line)
    row_inches = INCHES * height / width + 0.3
    figure = Figure(
        figsize=(INCHES * columns + 0.2, row_inches * len(rows) + 0.5 + 0.22 * lines),
        layout="constrained",
        facecolor="black",
    )
    panels = figure.subplots(len(rows), columns, squeeze=False)
    for sample, row, line in zip(samples, rows, panels, strict=True):
        for panel, strip, axes in zip(sample.panels, row, line, strict=True):
            _show(axes, strip, (height, width))
            if sample is samples[0]:
                axes.annotate(
                    panel.name,
                    (0.5, 1),
                    (0, 24),
                    xycoords="axes fraction",
                    textcoords="offset points",
                    ha="center",
                    color="white",
                    fontsize=11,
                )
        line[0].set_title(sample.title, loc="left", color="white", fontsize=8)
        line[1].set_title(sample.changes, loc="left", color="#ffd60a", fontsize=8)
    _legend(figure, used, codebook, names_a_line)
    with replacing(path) as temporary:
        figure.savefig(temporary, dpi=130, format="png")
    return path


def _strips(sample: Sample, codebook: Codebook) -> list[np.ndarray]:
    """Return one RGB picture for each panel."""
    first = sample.panels[0].image
    windows = [grey_window(channel) for channel in first]
    size = first.shape[1:]
    middle = size[0] // 2, size[1] // 2, size[2] // 2
    thin = [axis for axis in range(3) if size[axis] == 1]
    colours, shown = palette_of(codebook)
    strips = []
    for panel in sample.panels:
        lines = []
        for channel, window in zip(panel.image, windows, strict=True):
            grey = grey_in(channel, window)
            planes = []
            for axis in thin[:1] or range(3):
                plane = square(cut(grey, axis, middle[axis]), axis, sample.spacing)
                picture = np.repeat(plane[..., None].astype(np.float64), 3, axis=-1)
                if panel.codes is not None:
                    codes = square(cut(panel.codes, axis, middle[axis]), axis, sample.spacing)
                    paint(picture, shown[codes], colours[codes][shown[codes]], OPACITY)
                planes.append(picture)
            lines.append(_joined(planes, axis=1))
        strips.append(_joined(lines, axis=0))
    return strips


def _joined(pictures: Sequence[np.ndarray], axis: int) -> np.ndarray:
    """Put pictures beside (1) or below (0) each other with a gap; smaller ones are padded."""
    other = 1 - axis
    most = max(picture.shape[other] for picture in pictures)
    parts = []
    for picture in pictures:
        room = [(0, 0)] * 3
        room[other] = (0, most - picture.shape[other])
        room[axis] = (0, GAP if picture is not pictures[-1] else 0)
        parts.append(np.pad(picture, room))
    return np.concatenate(parts, axis=axis)


def _show(axes: Axes, strip: np.ndarray, shape: tuple[int, int]) -> None:
    canvas = np.zeros((*shape, 3))
    canvas[: strip.shape[0], : strip.shape[1]] = strip
    axes.imshow(canvas, interpolation="nearest")
    axes.set(xticks=[], yticks=[])
    axes.spines[:].set_visible(False)


def _legend(figure: Figure, used: Sequence[int], codebook: Codebook, columns: int) -> None:
    colours, shown = palette_of(codebook)
    codes = [code for code in used if shown[code]]
    handles = [Patch(color=colours[c], label=codebook.names[c]) for c in codes[:MOST_NAMES]]
    if len(codes) > MOST_NAMES:
        handles.append(Patch(color="black", label=f"and {len(codes) - MOST_NAMES} more"))
    figure.legend(
        handles=handles,
        loc="outside lower center",
        ncols=min(columns, max(len(handles), 1)),
        frameon=False,
        labelcolor="white",
        fontsize=8,
    )
