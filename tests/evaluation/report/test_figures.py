"""Bars, heat map and curves show the numbers that they are given."""

from __future__ import annotations

import io

import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_rgb
from sweep import dice_of, frame_of

from neoseg.evaluation.report.arms import summarise_arms, with_arms
from neoseg.evaluation.report.figures import bar_figure, heat_map
from neoseg.evaluation.report.style import WIDTH, arm_styles
from neoseg.evaluation.report.trends import share_figure


def frame(*arms: tuple[str, float], hidden: tuple[str, ...] = ("GM", "WM")) -> pd.DataFrame:
    scans = ("p1-1", "t1-1", "t1-2", "t2-1", "t3-1")
    parts = [
        frame_of(
            dice_of(0.6 + d / 10, scans),
            name=e,
            fraction=f,
            draw=d,
            run=f"{e}{f}{d}",
            hidden=hidden,
        )
        for e, f in arms
        for d in range(2)
    ]
    return with_arms(pd.concat(parts))


def test_bars_have_means_and_intervals_per_age() -> None:
    summary = summarise_arms(frame(("a", 0.05), ("b", 0.05)))
    figure = bar_figure(summary)
    assert [axes.get_title(loc="left") for axes in figure.axes] == ["preterm scans", "term scans"]
    labels = [label.get_text() for label in figure.axes[1].get_xticklabels()]
    assert labels == ["GM", "WM"]
    term = summary[(summary["metric"] == "dice") & (summary["age_group"] == "term")]
    row = term[(term["arm"] == "a, 5 %") & (term["abbreviation"] == "GM")].iloc[0]
    whiskers, bars = figure.axes[1].containers[:2]
    assert bars[0].get_height() == pytest.approx(row["mean"])
    ends = whiskers.lines[2][0].get_segments()[0][:, 1]
    assert ends == pytest.approx([row["low"], row["high"]])


def test_arms_differ_in_colour_and_hatch() -> None:
    styles = arm_styles(frame(("a", 0.05), ("b", 0.02), ("b", 0.05)))
    assert list(styles) == ["a, 5 %", "b, 2 %", "b, 5 %"]
    assert styles["a, 5 %"].hatch != styles["b, 5 %"].hatch
    small, large = (sum(to_rgb(styles[f"b, {share} %"].colour)) for share in (2, 5))
    assert small > large


def test_classes_without_hidden_ones_are_the_first() -> None:
    figure = bar_figure(summarise_arms(frame(("a", 0.05), hidden=())))
    labels = [label.get_text() for label in figure.axes[-1].get_xticklabels()]
    assert labels == ["CSF", "GM", "WM", "TCV"]


def test_of_many_classes_the_mean_and_the_first_are_shown() -> None:
    summary = summarise_arms(frame(*((f"e{k}", 0.05) for k in range(20)), hidden=()))
    labels = [label.get_text() for label in bar_figure(summary).axes[-1].get_xticklabels()]
    assert labels == ["mean of all", "CSF", "GM"]


def test_heat_map_has_every_structure_and_arm() -> None:
    summary = summarise_arms(frame(("a", 0.05), ("b", 0.05)))
    axes = heat_map(summary).axes[0]
    values = axes.images[0].get_array()
    names = [label.get_text() for label in axes.get_yticklabels()]
    assert values.shape == (len(names), 2)
    dice = summary[(summary["metric"] == "dice") & (summary["age_group"] == "all")]
    for row, name in enumerate(names):
        expected = dice[dice["abbreviation"] == name]["mean"].to_numpy()
        assert np.asarray(values[row]) == pytest.approx(expected)


def test_names_are_not_read_as_formulas() -> None:
    """A lone dollar or an open brace would stop matplotlib."""
    summary = summarise_arms(frame((r"$\frac{", 0.05), ("seed=${a}$", 0.05)))
    summary["abbreviation"] = summary["abbreviation"].replace("GM", "$x_")
    for figure in (bar_figure(summary), heat_map(summary)):
        figure.savefig(io.BytesIO(), format="png", dpi=30)


def test_figures_have_one_width_however_many_the_arms() -> None:
    """Shown beside each other, their letters would else differ in size."""
    few, many = (
        summarise_arms(frame(*((f"e{k}", 0.05) for k in range(number)))) for number in (2, 8)
    )
    figures = [draw(part) for part in (few, many) for draw in (bar_figure, heat_map, share_figure)]
    assert {figure and figure.get_figwidth() for figure in figures} == {WIDTH}
