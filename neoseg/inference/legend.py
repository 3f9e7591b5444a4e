"""Legends of pictures on black, as wide as the picture is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from neoseg.findings.markup import figure_text

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_LONGEST = 40
"""Letters of a name; the rest of a longer one is cut off."""

_LETTERS = 110
"""Letters an inch at a font size of one point, of an average name."""

_PATCH = 9
"""Width of the coloured patch of a name and of the gap between two columns, in letters."""


def columns_of(names: Sequence[str], inches: float, fontsize: float) -> int:
    """Return the number of columns of a legend, at least 1, such that its lines fit a width."""
    widest = max((min(len(name), _LONGEST) for name in names), default=1)
    columns = max(1, int(inches * _LETTERS / fontsize / (widest + _PATCH)))
    lines = max(1, -(-len(names) // columns))
    return max(1, -(-len(names) // lines))  # columns of about one height


def add_legend(figure: Figure, entries: Sequence[tuple[Any, str]], fontsize: float) -> None:
    """Add a legend below the panels of a figure, of pairs of a colour and a name."""
    from matplotlib.patches import Patch

    names = [name if len(name) <= _LONGEST else f"{name[: _LONGEST - 1]}…" for _, name in entries]
    figure.legend(
        handles=[
            Patch(color=colour, label=figure_text(name))
            for (colour, _), name in zip(entries, names, strict=True)
        ],
        loc="outside lower center",
        ncols=columns_of(names, figure.get_figwidth(), fontsize),
        frameon=False,
        labelcolor="white",
        fontsize=fontsize,
    )
