"""Draw a sheet of patches: one per row, with its augmented versions side by side."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from neoseg.files import write_figure
from neoseg.findings.markup import figure_text
from neoseg.inference.legend import add_legend, columns_of
from neoseg.inference.overlay import paint, palette_of
from neoseg.inference.planes import cut, grey_in, grey_window, square
from neoseg.labels import Codebook

OPACITY = 0.55
GAP = 2
"""Pixels between planes and modalities."""

PANEL_INCHES = 3.6
"""Width of a panel."""

MAX_NAMES = 30
"""Largest number of names in the legend."""

FONTSIZE = 8
"""Of the legend, points."""


@dataclass(frozen=True)
class Panel:
    """One version of a patch: image `[M, X, Y, Z]` and optional codes `[X, Y, Z]` to overlay."""

    name: str
    image: np.ndarray
    codes: np.ndarray | None = None


@dataclass(frozen=True)
class Sample:
    """One row of the sheet: a patch with its panels.

    Attributes:
        title: origin of the patch.
        changes: description of the augmentation.
        spacing: voxel size in mm.
        panels: drawn with the grey window of the first, so that changes of contrast are visible.
    """

    title: str
    changes: str
    spacing: Sequence[float]
    panels: tuple[Panel, ...]


def write_sheet(
    path: Path,
    samples: Sequence[Sample],
    codebook: Codebook,
    window: tuple[float, float] | None = None,
) -> Path:
    """Draw the middle planes of each panel of the samples, and save them as PNG.

    Sagittal, coronal and axial planes are side by side, modalities below each other; patches of a
    single slice have one plane. The overlay is grey for unknown voxels. There must be at least one
    sample, and all must have the same panels. `window` are the intensities shown as black and
    white; without one, 0.5 and 99.5 % of those of the first panel.
    """
    rows = [_strips(sample, codebook, window) for sample in samples]
    columns = len(samples[0].panels)
    height, width = np.max([strip.shape[:2] for row in rows for strip in row], axis=0)
    overlays = [p.codes for s in samples for p in s.panels if p.codes is not None]
    used = sorted({int(code) for codes in overlays for code in np.unique(codes)})
    entries, inches = _entries(used, codebook), PANEL_INCHES * columns + 0.2
    names = [name for _, name in entries]
    legend_lines = -(-len(names) // columns_of(names, inches, FONTSIZE))
    row_inches = PANEL_INCHES * height / width + 0.3
    figure = Figure(
        figsize=(inches, row_inches * len(rows) + 0.5 + 0.22 * legend_lines),
        layout="constrained",
        facecolor="black",
    )
    panels = figure.subplots(len(rows), columns, squeeze=False)
    for sample, row, axes_row in zip(samples, rows, panels, strict=True):
        for panel, strip, axes in zip(sample.panels, row, axes_row, strict=True):
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
        axes_row[0].set_title(figure_text(sample.title), loc="left", color="white", fontsize=8)
        axes_row[1].set_title(sample.changes, loc="left", color="#ffd60a", fontsize=8)
    add_legend(figure, entries, FONTSIZE)
    write_figure(path, figure, dpi=130)
    return path


def _strips(
    sample: Sample, codebook: Codebook, shown: tuple[float, float] | None
) -> list[np.ndarray]:
    """Return one RGB image per panel."""
    first = sample.panels[0].image
    windows = [shown or grey_window(channel) for channel in first]
    size = first.shape[1:]
    middle = size[0] // 2, size[1] // 2, size[2] // 2
    flat_axes = [axis for axis in range(3) if size[axis] == 1]
    colours, is_painted = palette_of(codebook)
    strips = []
    for panel in sample.panels:
        rows = []
        for channel, window in zip(panel.image, windows, strict=True):
            grey = grey_in(channel, window)
            planes = []
            for axis in flat_axes[:1] or range(3):
                plane = square(cut(grey, axis, middle[axis]), axis, sample.spacing)
                picture = np.repeat(plane[..., None].astype(np.float64), 3, axis=-1)
                if panel.codes is not None:
                    codes = square(cut(panel.codes, axis, middle[axis]), axis, sample.spacing)
                    paint(picture, is_painted[codes], colours[codes][is_painted[codes]], OPACITY)
                planes.append(picture)
            rows.append(_joined(planes, axis=1))
        strips.append(_joined(rows, axis=0))
    return strips


def _joined(pictures: Sequence[np.ndarray], axis: int) -> np.ndarray:
    """Join images side by side (axis 1) or below each other (axis 0) with a gap, padding them."""
    across = 1 - axis
    largest = max(picture.shape[across] for picture in pictures)
    parts = []
    for picture in pictures:
        padding = [(0, 0)] * 3
        padding[across] = (0, largest - picture.shape[across])
        padding[axis] = (0, GAP if picture is not pictures[-1] else 0)
        parts.append(np.pad(picture, padding))
    return np.concatenate(parts, axis=axis)


def _show(axes: Axes, strip: np.ndarray, shape: tuple[int, int]) -> None:
    canvas = np.zeros((*shape, 3))
    canvas[: strip.shape[0], : strip.shape[1]] = strip
    axes.imshow(canvas, interpolation="nearest")
    axes.set(xticks=[], yticks=[])
    axes.spines[:].set_visible(False)


def _entries(used: Sequence[int], codebook: Codebook) -> list[tuple[Any, str]]:
    """Return the colours and names of the legend."""
    colours, is_painted = palette_of(codebook)
    codes = [code for code in used if is_painted[code]]
    entries = [(colours[code], codebook.names[code]) for code in codes[:MAX_NAMES]]
    more = [("black", f"and {len(codes) - MAX_NAMES} more")] if len(codes) > MAX_NAMES else []
    return [*entries, *more]
