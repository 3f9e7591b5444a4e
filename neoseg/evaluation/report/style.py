"""Colours and markers of arms, the same in every figure and distinguishable without colour."""

from collections.abc import Iterable
from dataclasses import dataclass

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import to_hex, to_rgb
from matplotlib.figure import Figure

_HUES = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#7a6a00", "#555555")
"""Okabe and Ito's palette, which is safe for colour-blind readers; yellow, too faint on white, is
darkened and black lightened."""

_HATCHES = ("", "///", "...", "xx", "\\\\\\", "++", "oo", "--")
_MARKERS = "osD^vP*X"
_LINES = ("-", "--", "-.", ":")


@dataclass(frozen=True)
class ArmStyle:
    """Style of an arm: hue, hatch, marker and line per experiment, a shade per share."""

    colour: str
    hatch: str
    marker: str
    line: str


def arm_styles(frame: pd.DataFrame) -> dict[str, ArmStyle]:
    """Return arm -> style for a frame with columns arm, experiment and full_fraction.

    The largest share of an experiment has the full colour, smaller shares are paler.
    """
    arms = frame.drop_duplicates("arm").sort_values(["experiment", "full_fraction"])
    styles = {}
    for number, (_, part) in enumerate(arms.groupby("experiment", sort=False)):
        for rank, arm in enumerate(part["arm"], start=1):
            styles[arm] = ArmStyle(
                paler(_HUES[number % len(_HUES)], 0.35 + 0.65 * rank / len(part)),
                _HATCHES[number % len(_HATCHES)],
                _MARKERS[number % len(_MARKERS)],
                _LINES[number % len(_LINES)],
            )
    return styles


def paler(colour: str, strength: float) -> str:
    """Blend a colour with white; `strength` 1 keeps the colour, 0 gives white."""
    red, green, blue = (1 - strength * (1 - part) for part in to_rgb(colour))
    return to_hex((red, green, blue))


WIDTH = 7.5
"""Width of figures in inches, the same for all so that font sizes match side by side."""


def new_figure(width: float, height: float) -> Figure:
    """Return an empty figure (size in inches) that needs no display."""
    return Figure(figsize=(width, height), layout="constrained")


def tidy(axes: Axes, grid: str = "y") -> None:
    """Hide the top and right spines and draw a faint grid."""
    axes.grid(axis=grid, alpha=0.3)  # type: ignore[arg-type]
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)


_FREE_LEGEND_ROWS, _LEGEND_ROW_INCHES = 2, 0.21
"""Legend rows that fit without growing the figure, and the height of each further row in inches."""


def legend_above(figure: Figure, axes: Axes) -> None:
    """Place the legend of `axes` above the figure, in as many columns as fit.

    The figure grows with the rows of the legend, so that many arms do not shrink the axes.
    """
    handles, labels = axes.get_legend_handles_labels()
    if not handles:
        return
    # About ten characters of this size fit into an inch; key and gaps take the space of seven.
    columns = max(1, int(figure.get_figwidth() * 10 / (longest(labels) + 7)))
    extra_rows = max(0, -(-len(handles) // columns) - _FREE_LEGEND_ROWS)
    figure.set_figheight(figure.get_figheight() + _LEGEND_ROW_INCHES * extra_rows)
    figure.legend(handles, labels, loc="outside upper center", ncols=columns)


def longest(texts: Iterable[str]) -> int:
    """Return the length of the longest text."""
    return max(map(len, texts), default=0)
