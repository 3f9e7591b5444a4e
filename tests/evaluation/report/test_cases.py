"""Worst and median cases, their views, and the pictures made of them."""

from __future__ import annotations

import io
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_rgb
from PIL import Image
from sweep import NAN, frame_of, small_space, volumes, write_run

from neoseg.evaluation.report.arms import with_arms
from neoseg.evaluation.report.cases import (
    case_figure,
    case_picture,
    case_title,
    case_views,
    choose_cases,
)
from neoseg.evaluation.report.collect import collect
from neoseg.evaluation.report.sprites import (
    grey_strips,
    label_strips,
    planes_of,
    positions,
    used_colours,
)
from neoseg.evaluation.view import View, make_view, read_view, write_view
from neoseg.inference.overlay import WRONG
from neoseg.inference.planes import cut
from neoseg.labels import Codebook


def scans(*dice: float) -> dict:
    return {("t1", str(n)): {"GM": value, "TCV": 0.99} for n, value in enumerate(dice)}


@pytest.fixture
def frame() -> pd.DataFrame:
    parts = [
        frame_of(scans(0.9, 0.3, 0.8), name="a", draw=0, run="a0"),
        frame_of(scans(0.7, 0.6, 0.1), name="a", draw=1, run="a1"),
        frame_of(scans(0.5, 0.5, 0.4), name="b", draw=1, run="b1"),
    ]
    return with_arms(pd.concat(parts))


@pytest.fixture
def view() -> View:
    image, truth, leaves = volumes(0, shift=2)
    return make_view("sub-1", image, truth, leaves, Codebook.build(small_space()), (1.0, 0.8, 1.2))


def test_worst_and_median_of_all_scans_and_draws(frame) -> None:
    cases = {(case.kind, case.arm): case for case in choose_cases(frame)}
    assert list(cases)[:2] == [("worst", "a, 5 %"), ("worst", "b, 5 %")]
    worst = cases["worst", "a, 5 %"]
    assert (worst.scan, worst.shown["a, 5 %"].run) == ("sub-t1_ses-2", "a1")
    assert worst.shown["a, 5 %"].dice == pytest.approx(0.1)
    # 0.1, 0.3, 0.6, 0.7, 0.8, 0.9: the lower one of the two in the middle.
    assert cases["median", "a, 5 %"].shown["a, 5 %"].dice == pytest.approx(0.6)
    assert case_title(worst) == "worst case of a, 5 %: sub-t1_ses-2, 40.1 weeks, Dice 0.100"


def test_other_arms_show_the_same_draw_where_they_have_it(frame) -> None:
    cases = {(case.kind, case.arm): case for case in choose_cases(frame)}
    assert cases["worst", "b, 5 %"].shown["a, 5 %"].run == "a1"
    other = frame[frame["run"] != "a1"]
    cases = {(case.kind, case.arm): case for case in choose_cases(other)}
    assert cases["worst", "a, 5 %"].shown["b, 5 %"].run == "b1"


def test_scans_without_a_score_are_no_cases() -> None:
    frame = with_arms(frame_of(scans(NAN, 0.5)))
    (worst,) = choose_cases(frame)
    assert (worst.kind, worst.scan) == ("worst", "sub-t1_ses-1")


def test_views_come_from_the_runs_and_must_fit(tmp_path) -> None:
    for number, name in enumerate("abc"):
        write_run(tmp_path / name, scans(0.5 + number / 10), name=name, views=name != "c")
    collected = collect(tmp_path)
    runs = {run.name: run for run in collected.runs}
    case = choose_cases(with_arms(collected.scores))[0]
    assert list(case_views(case, runs)) == ["a, 5 %", "b, 5 %"]
    assert case_picture(case, "c, 5 %", runs) is None
    (tmp_path / "c" / "pictures").mkdir()
    picture = tmp_path / "c" / "pictures" / f"{case.scan}.png"
    Image.new("L", (2, 2)).save(picture)
    assert case_picture(case, "c, 5 %", runs) == picture.read_bytes()
    path = tmp_path / "b" / "views" / f"{case.scan}.npz"
    view = read_view(path)
    write_view(path.parent, replace(view, files="other labels"))
    assert list(case_views(case, runs)) == ["a, 5 %"]
    write_view(path.parent, view)
    small = np.load(tmp_path / "b" / "views" / f"{case.scan}.npz")
    cropped = {k: v[1:] if v.ndim == 3 else v for k, v in small.items()}
    np.savez(tmp_path / "b" / "views" / f"{case.scan}.npz", **cropped)
    assert list(case_views(case, runs)) == ["a, 5 %"]
    (tmp_path / "a" / "views" / f"{case.scan}.npz").write_bytes(b"cut off")
    assert list(case_views(case, runs)) == ["b, 5 %"]


def test_figure_paints_truth_prediction_and_errors(frame, view) -> None:
    case = choose_cases(frame)[0]
    figure = case_figure(case, {"a, 5 %": view, "b, 5 %": view})
    assert len(figure.axes) == 3 * (1 + 2 * 2)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=50)
    pixels = np.asarray(Image.open(buffer).convert("RGB"), float) / 255
    yellow = np.array(to_rgb(WRONG))
    near = np.abs(pixels / pixels.max(axis=2, keepdims=True).clip(1e-6) - yellow / yellow.max())
    assert (near.max(axis=2) < 0.3).mean() > 0.005


def test_strips_hold_the_slices_below_each_other(view) -> None:
    places = positions(view, 4)
    assert [len(row) for row in places] == [4, 4, 4]
    planes = planes_of(view, places)
    assert [plane["name"] for plane in planes] == ["sagittal", "coronal", "axial"]
    assert planes[0]["mm"] == [
        round(view.image.shape[1] * 0.8, 2),
        round(view.image.shape[2] * 1.2, 2),
    ]
    for axis, uri in enumerate(label_strips(view, "prediction", places)):
        picture = decoded(uri)
        assert picture.size == (planes[axis]["width"], 4 * planes[axis]["height"])
        rgba = np.asarray(picture.convert("RGBA"))
        third = rgba[2 * planes[axis]["height"] : 3 * planes[axis]["height"]]
        labels = cut(view.prediction, axis, places[axis][2])
        assert np.array_equal(third[..., 3] > 0, labels > 0)
        for number in np.unique(labels[labels > 0]):
            colour = np.array(to_rgb(view.colours[number])) * 255
            assert (third[labels == number][:, :3] == colour.round()).all()
    grey = np.asarray(decoded(grey_strips(view, places)[2]))
    assert np.array_equal(grey[: planes[2]["height"]], cut(view.image, 2, places[2][0]))


def test_positions_are_where_something_is_labelled(view) -> None:
    places = positions(view, 500)
    for axis, row in enumerate(places):
        labelled = np.flatnonzero(view.truth.any(axis=tuple(a for a in range(3) if a != axis)))
        assert row == labelled.tolist()


def test_legend_names_what_is_there(view) -> None:
    assert used_colours({"a": view}) == [["CSF", "#0000ff"], ["GM", "#ff0000"], ["WM", "#ffff00"]]


def decoded(uri: str) -> Image.Image:
    import base64

    head, content = uri.split(",")
    assert head == "data:image/png;base64"
    return Image.open(io.BytesIO(base64.b64decode(content)))
