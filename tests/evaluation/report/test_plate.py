"""The figure of one scan for a paper."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from pydantic import ValidationError
from sweep import frame_of, small_space, volumes

from neoseg.evaluation.report.arms import with_arms
from neoseg.evaluation.report.cases import choose_cases
from neoseg.evaluation.report.plate import (
    PlateSettings,
    bar_length,
    plate_case,
    plate_figure,
    positions_of,
)
from neoseg.evaluation.report.run_files import ReportError
from neoseg.evaluation.view import View, make_view
from neoseg.labels import Codebook


@pytest.fixture
def frame() -> pd.DataFrame:
    parts = [
        frame_of(
            {("t1", str(n)): {"GM": dice} for n, dice in enumerate(values)}, name=name, run=name
        )
        for name, values in (("iuc", (0.9, 0.3, 0.8)), ("supervised", (0.5, 0.7, 0.2)))
    ]
    return with_arms(pd.concat(parts))


@pytest.fixture
def view() -> View:
    image, truth, leaves = volumes(0, shift=2)
    return make_view("sub-1", image, truth, leaves, Codebook.build(small_space()), (1.0, 0.8, 1.2))


def case_of(frame: pd.DataFrame, scan: str | None = None):
    cases = choose_cases(frame)
    return plate_case(frame, cases, None, PlateSettings(scan=scan), "supervised")


def test_the_median_of_the_reference_or_the_scan_that_is_named(frame) -> None:
    assert (case_of(frame).scan, case_of(frame).arm) == ("sub-t1_ses-0", "supervised, 5 %")
    named = case_of(frame, "sub-t1_ses-2")
    assert named.scan == "sub-t1_ses-2"
    assert {arm: shown.dice for arm, shown in named.shown.items()} == {
        "iuc, 5 %": 0.8,
        "supervised, 5 %": 0.2,
    }
    with pytest.raises(ReportError, match=r"plate.scan=sub-t1_ses-9.*did you mean"):
        case_of(frame, "sub-t1_ses-9")


def test_a_row_for_each_slice_and_a_column_for_each_arm(frame, view) -> None:
    views = {"supervised, 5 %": view, "iuc, 5 %": replace(view, prediction=view.truth)}
    settings = PlateSettings(plane="coronal", slices=(20, 50, 80))
    figure = plate_figure(case_of(frame), views, settings)
    assert len(figure.axes) == 3 * 4
    assert figure.get_facecolor() == (1, 1, 1, 1)
    titles = [axes.get_title() for axes in figure.axes[:4]]
    assert titles[:2] == ["image", "truth"]
    assert titles[2].endswith("Dice 0.500")
    assert titles[3].endswith("Dice 0.900")
    pixels = [axes.images[0].get_array() for axes in figure.axes[:4]]
    assert np.array_equal(pixels[1], pixels[3])
    assert not np.array_equal(pixels[1], pixels[2])
    only = plate_figure(case_of(frame), views, PlateSettings(arms=("iuc, 5 %",)))
    assert len(only.axes) == 2 * 3
    with pytest.raises(ReportError, match=r"plate\.arms: full: no view"):
        plate_figure(case_of(frame), views, PlateSettings(arms=("full",)))


def test_slices_are_percents_of_what_is_labelled(view) -> None:
    inside = np.flatnonzero(view.truth.any(axis=(0, 1)))
    assert positions_of(view, 2, (0, 100)) == [inside[0], inside[-1]]
    nothing = replace(view, truth=np.zeros_like(view.truth))
    assert positions_of(nothing, 2, (0, 100)) == [0, view.truth.shape[2] - 1]
    with pytest.raises(ValidationError):
        PlateSettings(slices=(101,))


@pytest.mark.parametrize(("width", "length"), [(35, 5), (145, 20), (3, 1), (1000, 200)])
def test_the_bar_is_round(width: float, length: int) -> None:
    assert bar_length(width) == length
