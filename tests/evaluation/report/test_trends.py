"""Curves over steps, shares and ages."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
from sweep import NAN, dice_of, frame_of

from neoseg.evaluation.report.arms import MEAN_OF_HIDDEN, scan_means, summarise_arms, with_arms
from neoseg.evaluation.report.expected import expected_figure, read_expected
from neoseg.evaluation.report.trends import (
    age_figure,
    learning_curves,
    read_curves,
    share_figure,
)

ARMS = (("a", 0.02), ("a", 0.05), ("b", 0.05))


@pytest.fixture
def frame() -> pd.DataFrame:
    parts = [
        frame_of(dice_of(0.5 + n / 10), name=e, fraction=f, run=f"r{n}")
        for n, (e, f) in enumerate(ARMS)
    ]
    return with_arms(pd.concat(parts))


def curve(*dice: float) -> pd.DataFrame:
    steps = np.arange(1, len(dice) + 1) * 10
    train = pd.DataFrame({"step": steps, "train/loss": 1 / steps, "val/dice": NAN})
    val = pd.DataFrame({"step": steps, "train/loss": NAN, "val/dice": dice})
    return pd.concat([train, val]).sort_values("step")


def test_learning_curves_have_a_line_per_run_and_a_mean_per_arm(frame) -> None:
    runs = frame.drop_duplicates("run")
    runs = pd.concat([runs, runs.iloc[[0]].assign(run="twin")])
    curves = {
        "r0": curve(0.2, 0.4),
        "twin": curve(0.4, 0.8),
        "r1": curve(0.5),
        "r2": pd.DataFrame(),
    }
    figure = learning_curves(curves, runs)
    assert [axes.get_ylabel() for axes in figure.axes] == ["training loss", "validation Dice"]
    lines = {line.get_label(): line for line in figure.axes[1].lines}
    assert lines["a, 2 %"].get_ydata() == pytest.approx([0.3, 0.6])
    assert lines["a, 2 %"].get_xdata().tolist() == [10, 20]
    assert lines["a, 5 %"].get_ydata() == pytest.approx([0.5])
    assert "b, 5 %" not in lines


def test_no_curves_no_figure(frame) -> None:
    assert learning_curves({"r0": pd.DataFrame()}, frame.drop_duplicates("run")) is None


def test_damaged_curves_are_empty(tmp_path) -> None:
    assert read_curves(tmp_path / "missing.csv").empty
    (tmp_path / "a.csv").write_text("")
    (tmp_path / "b.csv").write_text("other\n1\n")
    (tmp_path / "c.csv").write_text("step,train/loss\n1,2\n")
    assert read_curves(tmp_path / "a.csv").empty
    assert read_curves(tmp_path / "b.csv").empty
    assert read_curves(tmp_path / "c.csv")["train/loss"].tolist() == [2]


def test_share_figure_has_a_line_per_experiment(frame) -> None:
    summary = summarise_arms(frame)
    figure = share_figure(summary)
    assert [axes.get_title(loc="left") for axes in figure.axes] == [
        *("preterm scans", "term scans", "all scans")
    ]
    first, second = figure.axes[2].containers
    dice = summary[(summary["metric"] == "dice") & (summary["age_group"] == "all")]
    means = dice[dice["abbreviation"] == MEAN_OF_HIDDEN].set_index("arm")["mean"]
    assert first.lines[0].get_ydata() == pytest.approx(means[["a, 2 %", "a, 5 %"]].to_numpy())
    assert second.lines[0].get_xdata() == pytest.approx([5], rel=0.05)
    for axes in figure.axes:
        assert axes.get_xlim()[0] < 2
        assert axes.get_xlim()[1] > 5


def test_a_share_of_zero_stands_left_of_the_others() -> None:
    parts = [frame_of(dice_of(0.6), fraction=f, run=f"r{n}") for n, f in enumerate((0.0, 0.05))]
    (axes,) = share_figure(summarise_arms(with_arms(pd.concat(parts)))).axes[2:]
    zero, five = axes.get_xticks()
    assert 0 < axes.get_xlim()[0] < zero < five
    assert [label.get_text() for label in axes.get_xticklabels()] == ["0", "5"]
    drawn = axes.containers[0].lines[0].get_xdata()
    assert drawn == pytest.approx([zero, five], rel=0.05)


def test_arms_without_a_share_have_no_share_figure() -> None:
    summary = summarise_arms(with_arms(frame_of(dice_of(0.5), fraction=NAN)))
    assert share_figure(summary) is None


def test_age_figure_has_a_point_per_scan(frame) -> None:
    scans = scan_means(frame)
    figure = age_figure(scans)
    places = figure.axes[0].collections[0].get_offsets()
    own = scans[(scans["arm"] == "a, 2 %") & (scans["abbreviation"] == MEAN_OF_HIDDEN)]
    assert np.asarray(places) == pytest.approx(own[["scan_age", "dice"]].to_numpy())
    assert age_figure(scans.assign(scan_age=NAN)) is None


def test_the_legend_of_many_arms_leaves_the_axes_their_size() -> None:
    heights = {}
    for count in (3, 20):
        names = [f"a_rather_long_name_{number}" for number in range(count)]
        parts = [frame_of(dice_of(0.5), name=name, run=name) for name in names]
        figure = age_figure(scan_means(with_arms(pd.concat(parts))))
        figure.draw_without_rendering()
        box = figure.axes[0].get_window_extent()
        heights[count] = box.height
        (legend,) = figure.legends
        assert legend.get_window_extent().y0 >= box.y1
    assert heights[20] >= 0.9 * heights[3]


def test_expected_dice_beside_the_true_one(frame, tmp_path) -> None:
    runs = frame.drop_duplicates("run")
    assert expected_figure({"r0": read_expected(tmp_path)}, runs) is None
    pairs = {"r0": [[0.9, 0.8], [0.7, 0.5], [0.8, 0.7]], "r1": [[0.9, 0.1]]}
    for run, content in pairs.items():
        path = tmp_path / run / "calibration" / "key" / "calibration.json"
        path.parent.mkdir(parents=True)
        path.write_text(json.dumps({"found": {"dice": {"scan": content, "GM": [[1, 1]]}}}))
    damaged = tmp_path / "r2" / "calibration" / "key" / "calibration.json"
    damaged.parent.mkdir(parents=True)
    damaged.write_text('{"found": {"dice": {"scan": [[1]]}}}')
    expected = {run: read_expected(tmp_path / run) for run in ("r0", "r1", "r2")}
    assert [len(found) for found in expected.values()] == [3, 1, 0]
    figure = expected_figure(expected, runs)
    assert figure is not None
    points = figure.axes[0].collections
    assert points[0].get_label() == "a, 2 %: 3 scans, rank correlation 1.00"
    assert points[1].get_label() == "a, 5 %: 1 scans"
    assert points[0].get_offsets().tolist() == pairs["r0"]
