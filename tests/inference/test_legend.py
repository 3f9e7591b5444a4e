"""Legends stay within their pictures, whatever the names."""

from __future__ import annotations

import pytest
from matplotlib.figure import Figure

from neoseg.inference.legend import add_legend, columns_of


@pytest.mark.parametrize("inches", [4.0, 8.4, 11.0])
@pytest.mark.parametrize("longest", [4, 16, 90])
@pytest.mark.parametrize("number", [1, 24])
def test_a_legend_is_within_its_picture(inches: float, longest: int, number: int) -> None:
    figure = Figure(figsize=(inches, 8), layout="constrained")
    figure.subplots(1, 2)
    names = [f"{n}_{'wide_name_' * 10}"[:longest] for n in range(number)]
    add_legend(figure, [("red", name) for name in names], fontsize=9)
    figure.draw_without_rendering()
    (legend,) = figure.legends
    box, whole = legend.get_window_extent(), figure.bbox
    assert whole.x0 <= box.x0 < box.x1 <= whole.x1
    assert whole.y0 <= box.y0 < box.y1 <= whole.y1
    assert all(len(text.get_text()) <= 40 for text in legend.get_texts())


def test_short_names_share_lines() -> None:
    assert columns_of(["WM", "GM", "CSF"], 8.4, 9) == 3
    assert columns_of(["WM"] * 10, 8.4, 9) == 5  # two lines of one length
    assert columns_of([], 8.4, 9) == 1
