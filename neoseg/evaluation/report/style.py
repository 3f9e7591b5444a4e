"""Colours and marks of arms, the same in every figure, told apart without colour as well."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import to_hex, to_rgb
from matplotlib.figure import Figure

_HUES = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#7a6a00", "#555555")
"""Okabe and Ito's colours, which readers with any colour vision tell apart; yellow, which white
paper swallows, and black are darkened and lightened."""

_HATCHES = ("", "///", "...", "xx", "\\\\\\", "++", "oo", "--")
_MARKERS = "osD^vP*X"
_LINES = ("-", "--", "-.", ":")


@dataclass(frozen=True)
class ArmStyle:
    """How an arm is drawn: a hue, hatch, marker and line per experiment, a shade per share."""

    colour: str
    hatch: str
    marker: str
    line: str


def arm_styles(frame: pd.DataFrame) -> dict[str, ArmStyle]:
    """Return arm -> style for a frame with columns arm, experiment and full_fraction.

    The largest share of an experiment has its full colour, smaller ones are paler.
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
    """Mix a colour with white; 1 keeps it."""
    red, green, blue = (1 - strength * (1 - part) for part in to_rgb(colour))
    return to_hex((red, green, blue))


WIDTH = 7.5
"""Of a figure, inches: one for all, so that letters have one size beside each other."""


def new_figure(width: float, height: float) -> Figure:
    """Return an empty figure (inches) that is drawn without a display."""
    return Figure(figsize=(width, height), layout="constrained")


def plain_text(text: object) -> str:
    """Return text that matplotlib does not read as a formula."""
    return str(text).replace("$", r"\$")


def tidy(axes: Axes, grid: str = "y") -> None:
    """Take away what tells nothing and draw a faint grid."""
    axes.grid(axis=grid, alpha=0.3)  # type: ignore[arg-type]
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)


_ROWS, _ROW = 2, 0.21
"""Rows of a legend for which a figure has room, and the height of a further one in inches."""


def legend_above(figure: Figure, axes: Axes) -> None:
    """Put the legend of some axes above the figure, in as many columns as fit.

    The figure grows with the rows of the legend, so that many arms leave the axes their size.
    """
    handles, labels = axes.get_legend_handles_labels()
    if not handles:
        return
    # About ten characters of this size fit into an inch; a key and its gaps take seven more.
    columns = max(1, int(figure.get_figwidth() * 10 / (longest(labels) + 7)))
    more = max(0, -(-len(handles) // columns) - _ROWS)
    figure.set_figheight(figure.get_figheight() + _ROW * more)
    figure.legend(handles, labels, loc="outside upper center", ncols=columns)


def longest(texts: Iterable[str]) -> int:
    """Return the length of the longest text."""
    return max(map(len, texts), default=0)
