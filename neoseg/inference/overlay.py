"""Draw an image with ground truth and prediction, cropped to the anatomy."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from neoseg.files import write_figure
from neoseg.findings.markup import figure_text
from neoseg.inference.legend import add_legend
from neoseg.inference.planes import (
    PLANES,
    box_of,
    centre_of,
    colours_of,
    cut,
    grey_in,
    grey_window,
    labelled_in,
)
from neoseg.labels import Codebook

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WRONG = "#ffd60a"
"""Colour of voxels whose truth excludes the prediction."""

OPACITY = 0.6
_MAX_LEGEND = 24


def write_overlay(
    path: Path,
    image: np.ndarray,
    prediction: np.ndarray,
    truth_codes: np.ndarray | None,
    codebook: Codebook,
    spacing: Sequence[float],
    *,
    scan: str = "",
    scan_age: float | None = None,
    mean_dice: float | None = None,
    centre: Sequence[int] | None = None,
    window: tuple[float, float] | None = None,
) -> Path:
    """Draw image, truth, prediction and disagreement in three planes and save them as PNG.

    The planes pass through the centre of mass of the labelled structures (of the truth, if given)
    and show them with a margin of 8 mm. Merged label sets have the colour of their class; voxels
    with unknown truth are grey and never count as disagreement.

    Args:
        path: of the PNG; its folder is created.
        image: `[X, Y, Z]` in canonical (RAS+) axes, any units.
        prediction: uint8 leaf positions, same shape.
        truth_codes: uint8 rows of `codebook`, same shape; None omits truth and disagreement.
        codebook: defines the colours and the leaves that each code allows.
        spacing: voxel size in mm.
        scan, scan_age (weeks), mean_dice: shown in the title if given.
        centre: voxel through which the planes pass instead, marked with a cross.
        window: intensities shown as black and white; None: 0.5 and 99.5 % of those of the picture.

    Raises:
        ValueError: the shapes differ.
    """
    shapes = {image.shape, prediction.shape}
    shapes |= set() if truth_codes is None else {truth_codes.shape}
    if len(shapes) > 1 or image.ndim != 3:
        raise ValueError(f"image, truth and prediction must be volumes of one shape: {shapes}")
    # A predicted leaf is drawn as the code of that leaf alone, which is its position + 1.
    codes = prediction.astype(np.int32) + 1
    reference = codes if truth_codes is None else truth_codes
    background = codebook.space.background + 1
    labelled = labelled_in(reference, background) | (codes != background)
    box = box_of(labelled, spacing)
    image, prediction, codes, reference = (v[box] for v in (image, prediction, codes, reference))
    truth_codes = None if truth_codes is None else reference
    middle = centre_of(reference, background) if centre is None else _within(box, centre)
    palette, visible = palette_of(codebook)
    grey = grey_in(image, window or grey_window(image))
    rows = _rows_of(prediction, codes, truth_codes, codebook)
    figure, panels = _make_panels(len(rows), np.array(image.shape) * np.asarray(spacing))
    used = Counter[int]()
    for number, (name, overlay) in enumerate(rows):
        for axis, axes in enumerate(panels[number]):
            picture = np.repeat(cut(grey, axis, middle[axis])[..., None], 3, axis=-1)
            if overlay is not None:
                used += _paint_layer(picture, cut(overlay, axis, middle[axis]), palette, visible)
            show_plane(axes, picture, axis, spacing)
            if number == 0:
                _label_plane(axes, axis)
                if centre is not None:
                    _mark(axes, axis, middle, picture.shape[0])
        panels[number, 0].set_ylabel(name, color="white", fontsize=11)
    figure.suptitle(_make_title(scan, scan_age, mean_dice), color="white", fontsize=12)
    _add_legend(figure, used, visible, palette, codebook, wrong=truth_codes is not None)
    write_figure(path, figure, dpi=130)
    return path


def _within(box: Sequence[slice], centre: Sequence[int]) -> tuple[int, ...]:
    """Return the voxel of a box that is nearest to `centre`, counted from the box's corner."""
    return tuple(
        min(max(c - part.start, 0), part.stop - part.start - 1)
        for c, part in zip(centre, box, strict=True)
    )


def _rows_of(
    prediction: np.ndarray, codes: np.ndarray, truth_codes: np.ndarray | None, codebook: Codebook
) -> list[tuple[str, np.ndarray | None]]:
    """Return the name of each row and its layer over the image: codes, or a mask of errors."""
    if truth_codes is None:
        return [("image", None), ("prediction", codes)]
    wrong = ~codebook.rows[truth_codes, prediction]
    return [("image", None), ("truth", truth_codes), ("prediction", codes), ("disagreement", wrong)]


def _make_panels(rows: int, extent: np.ndarray) -> tuple[Figure, np.ndarray]:
    """Return a black figure and its axes `[rows, 3]`, for planes of a volume of `extent` mm."""
    # Imported here, so that predictions without pictures need not wait for it.
    from matplotlib.figure import Figure

    widths = [extent[1], extent[0], extent[0]]
    height = max(extent[2], extent[1])
    size = (8.4, 0.9 + 7.6 * rows * height / sum(widths))
    figure = Figure(figsize=size, layout="constrained", facecolor="black")
    return figure, figure.subplots(rows, 3, width_ratios=widths, squeeze=False)


def _paint_layer(
    picture: np.ndarray, layer: np.ndarray, palette: np.ndarray, visible: np.ndarray
) -> Counter[int]:
    """Paint a slice of codes or a mask of errors over a picture; return the pixels of each code."""
    from matplotlib.colors import to_rgb

    if layer.dtype == bool:
        paint(picture, layer, np.array(to_rgb(WRONG)), 0.85)
        return Counter()
    paint(picture, visible[layer], palette[layer][visible[layer]])
    codes, counts = np.unique(layer, return_counts=True)
    return Counter(dict(zip(codes.tolist(), counts.tolist(), strict=True)))


def palette_of(codebook: Codebook) -> tuple[np.ndarray, np.ndarray]:
    """Return the RGB colour of each code, and whether it is drawn (the background is not)."""
    from matplotlib.colors import to_rgb

    visible = np.ones(codebook.size, dtype=bool)
    visible[codebook.space.background + 1] = False
    return np.array([to_rgb(colour) for colour in colours_of(codebook)]), visible


def paint(
    picture: np.ndarray, where: np.ndarray, colour: np.ndarray, opacity: float = OPACITY
) -> None:
    """Blend a colour over the pixels `where` of an RGB picture, in place."""
    picture[where] = (1 - opacity) * picture[where] + opacity * colour


def show_plane(axes: Axes, picture: np.ndarray, axis: int, spacing: Sequence[float]) -> None:
    """Show a slice across `axis` with true aspect ratio, without ticks and frame."""
    across, up = (index for index in range(3) if index != axis)
    axes.imshow(picture, aspect=spacing[up] / spacing[across], interpolation="nearest")
    axes.set(xticks=[], yticks=[])
    axes.spines[:].set_visible(False)


def _label_plane(axes: Axes, axis: int) -> None:
    name, ends = PLANES[axis]
    axes.set_title(name, color="white", fontsize=11)
    mark_sides(axes, ends, 0.5, va="center")


def mark_sides(axes: Axes, ends: tuple[str, str], height: float, **text: Any) -> None:
    """Write the directions at the left and right edge of a picture, at a height of 0 to 1."""
    for x, letter, side in ((0.02, ends[0], "left"), (0.98, ends[1], "right")):
        axes.text(x, height, letter, transform=axes.transAxes, ha=side, color="white", **text)


def _mark(axes: Axes, axis: int, middle: Sequence[int], rows: int) -> None:
    """Mark the voxel `middle` with a cross in a slice across `axis` that has so many pixel rows."""
    across, up = (middle[other] for other in range(3) if other != axis)
    axes.axvline(across, color=WRONG, linewidth=0.6)
    axes.axhline(rows - 1 - up, color=WRONG, linewidth=0.6)


def _make_title(scan: str, scan_age: float | None, mean_dice: float | None) -> str:
    parts = [figure_text(scan)] if scan else []
    if scan_age is not None and np.isfinite(scan_age):
        parts.append(f"{scan_age:.1f} weeks")
    if mean_dice is not None and np.isfinite(mean_dice):
        parts.append(f"mean Dice {mean_dice:.3f}")
    return "   ·   ".join(parts)


def _add_legend(
    figure: Figure,
    used: Counter[int],
    visible: np.ndarray,
    palette: np.ndarray,
    codebook: Codebook,
    wrong: bool,
) -> None:
    """Add a legend of the drawn codes in table order, of the largest if there are too many."""
    codes = [code for code, _ in used.most_common() if visible[code]]
    listed = sorted(codes[:_MAX_LEGEND])
    entries: list[tuple[Any, str]] = [(palette[code], codebook.names[code]) for code in listed]
    if len(codes) > len(listed):
        entries.append(("black", f"and {len(codes) - len(listed)} more"))
    if wrong:
        entries.append((WRONG, "disagreement"))
    add_legend(figure, entries, fontsize=9)
