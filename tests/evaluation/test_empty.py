"""The one table that says what empty masks score."""

from __future__ import annotations

import math

import pytest

from neoseg.evaluation.empty import DISTANCES, OVERLAPS, empty_scores


def test_two_masks_are_measured() -> None:
    assert empty_scores(True, True, 10, 20) is None


@pytest.mark.parametrize(("truth", "prediction"), [(True, False), (False, True)])
def test_one_empty_is_the_worst(truth, prediction) -> None:
    scores = empty_scores(truth, prediction, 10, 20)
    assert scores == {
        **dict.fromkeys(OVERLAPS, 0.0),
        **dict.fromkeys(DISTANCES, 10),
        "paper_hd_voxels": 20,
    }


def test_both_empty_is_not_applicable() -> None:
    scores = empty_scores(False, False, 10, 20)
    assert set(scores) == {*OVERLAPS, *DISTANCES, "paper_hd_voxels"}
    assert all(math.isnan(value) for value in scores.values())
