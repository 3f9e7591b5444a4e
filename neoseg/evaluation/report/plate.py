"""Figure for a paper: image, truth and arms of one scan side by side, on white."""

from collections.abc import Mapping, Sequence
from textwrap import fill
from typing import Annotated, Literal

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from pydantic import Field

from neoseg.evaluation.report.cases import Case, case_of, painted
from neoseg.evaluation.report.run_files import ReportError
from neoseg.evaluation.report.style import WIDTH, new_figure
from neoseg.evaluation.view import View
from neoseg.findings.markup import figure_text
from neoseg.findings.nearest import nearest
from neoseg.findings.settings import Section
from neoseg.inference.overlay import mark_sides, show_plane
from neoseg.inference.planes import PLANES, cut

Percent = Annotated[float, Field(ge=0, le=100)]

_DEFAULT_SLICES = (40.0, 60.0)
_MAX_LEGEND = 24
_INCHES_PER_LINE = 0.16
_LETTERS_PER_INCH = 14


class PlateSettings(Section):
    """Which scan, slices and arms; `plate` of `conf/report.yaml`."""

    scan: str | None = Field(default=None, description="sub-X_ses-Y; null: the reference's median")
    plane: Literal["sagittal", "coronal", "axial"] = "axial"
    slices: tuple[Percent, ...] = Field(
        default=_DEFAULT_SLICES, min_length=1, description="percent of the labelled, from L, P or I"
    )
    arms: tuple[str, ...] | None = Field(default=None, description="null: the first four")


def plate_case(
    frame: pd.DataFrame,
    cases: Sequence[Case],
    files: Mapping[str, str] | None,
    settings: PlateSettings,
    reference: str,
) -> Case | None:
    """Return the case to draw: `settings.scan`, by default the median scan of the reference.

    Returns None if no scan has a score.

    Raises:
        ReportError: if no run has scored `settings.scan`.
    """
    if settings.scan is None:
        typical = [case for case in cases if case.kind == "median"] or list(cases)
        of_reference = (case for case in typical if case.arm.split(",")[0] == reference)
        return next(of_reference, typical[0] if typical else None)
    case = case_of(frame, settings.scan, files)
    if case is None:
        scans = sorted({case.scan for case in cases})
        raise ReportError(
            f"plate.scan={settings.scan}: no run has scored such a scan"
            f"{nearest(settings.scan, scans)}; the page names scans such as {', '.join(scans[:5])}"
        )
    return case


def plate_figure(case: Case, views: Mapping[str, View], settings: PlateSettings) -> Figure:
    """Draw one row per slice, with columns for the image, the truth and each arm.

    Pixels are those of the view; letters and the scale bar stay vectors in a PDF. Letters mark the
    sides of the first panel.

    Raises:
        ReportError: if an arm has no view of the scan.
    """
    arms = list(settings.arms or list(views)[:4])
    missing = [arm for arm in arms if arm not in views]
    if missing:
        raise ReportError(
            f"plate.arms: {', '.join(missing)}: no view of {case.scan}; there are "
            f"{'; '.join(views)}"
        )
    first = views[arms[0]]
    axis = [name for name, _ in PLANES].index(settings.plane)
    across, up = (other for other in range(3) if other != axis)
    millimetres = np.array(first.image.shape) * first.spacing
    columns: list[tuple[str, View, str | None]] = [
        ("image", first, None),
        ("truth", first, "truth"),
    ]
    side = WIDTH / (2 + len(arms))
    for arm in arms:
        title = fill(arm.replace(" %", "\N{NO-BREAK SPACE}%"), int(_LETTERS_PER_INCH * side))
        columns.append((f"{title}\nDice {case.shown[arm].dice:.3f}", views[arm], "prediction"))
    positions = positions_of(first, axis, settings.slices)
    rows_high = len(positions) * side * millimetres[up] / millimetres[across]
    structures = _visible_structures(first, [views[arm] for arm in arms], axis, positions)
    widest = max((len(first.names[number]) for number in structures), default=1)
    ncols = max(1, int(WIDTH * _LETTERS_PER_INCH / (widest + 9)))
    lines = -(-min(len(structures), _MAX_LEGEND + 1) // ncols)
    figure = new_figure(WIDTH, 0.6 + rows_high + _INCHES_PER_LINE * lines)
    panels = figure.subplots(len(positions), len(columns), squeeze=False)
    for position, row in zip(positions, panels, strict=True):
        for axes, (_, view, layer) in zip(row, columns, strict=True):
            show_plane(axes, painted(view, layer, axis, position), axis, view.spacing)
    for axes, (title, _, _) in zip(panels[0], columns, strict=True):
        axes.set_title(figure_text(title), fontsize=7)
    mark_sides(panels[0][0], PLANES[axis][1], 0.98, va="top", fontsize=8)
    _scale_bar(panels[-1][0], millimetres[across])
    handles = [
        Patch(facecolor=first.colours[number], label=figure_text(first.names[number]))
        for number in structures[:_MAX_LEGEND]
    ]
    if len(structures) > _MAX_LEGEND:
        handles.append(Patch(facecolor="none", label=f"and {len(structures) - _MAX_LEGEND} more"))
    figure.legend(
        handles=handles, loc="outside lower center", ncols=ncols, frameon=False, fontsize=7
    )
    return figure


def positions_of(view: View, axis: int, percents: Sequence[float]) -> list[int]:
    """Return slice indices along an axis, from percentages of its labelled extent."""
    low, end = view.labelled[axis]
    return [round(low + (end - 1 - low) * percent / 100) for percent in percents]


def bar_length(millimetres: float) -> int:
    """Return the longest round length in mm up to a quarter of the picture's width, at least 1."""
    lengths = [n * 10**power for power in range(3) for n in (1, 2, 5)]
    return max([n for n in lengths if n <= millimetres / 4], default=1)


def _visible_structures(
    first: View, views: Sequence[View], axis: int, positions: Sequence[int]
) -> list[int]:
    """Return the indices of the structures in the slices, those with most pixels first."""
    layers = [cut(first.truth, axis, position) for position in positions]
    layers += [cut(view.prediction, axis, position) for view in views for position in positions]
    counts = np.bincount(np.concatenate([layer.ravel() for layer in layers]))
    counts[0] = 0  # the background
    order = np.argsort(-counts, kind="stable")
    return [int(number) for number in order if counts[number]]


def _scale_bar(axes: Axes, width: float) -> None:
    """Draw a scale bar into the lower right corner of a picture that is `width` mm wide."""
    length = bar_length(width)
    share = length / width
    axes.plot([0.95 - share, 0.95], [0.05, 0.05], "w-", lw=2, transform=axes.transAxes)
    axes.text(
        0.95 - share / 2,
        0.07,
        f"{length} mm",
        transform=axes.transAxes,
        ha="center",
        va="bottom",
        color="white",
        fontsize=7,
    )
