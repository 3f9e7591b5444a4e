"""Warnings before any number: what means and tests cannot show."""

from __future__ import annotations

import pandas as pd
import pytest

from neoseg.evaluation.report.cautions import _different_inventions, _different_truths


def scans(arm: str, invented: int, lacking: int = 8) -> pd.DataFrame:
    """Scores of a lesion in two scans that have it and in others that lack it."""
    rows = [(10.0, 0)] * 2 + [(0.0, int(number < invented)) for number in range(lacking)]
    frame = pd.DataFrame(rows, columns=["truth_ml", "invented"])
    return frame.assign(arm=arm, abbreviation="LES", is_leaf=True)


@pytest.mark.parametrize("second", [2, 7])
def test_unequal_inventions_are_told_since_neither_means_nor_tests_count_them(second: int) -> None:
    frame = pd.concat([scans("one", 2), scans("other", second)], ignore_index=True)
    told = list(_different_inventions(frame))
    assert bool(told) == (second != 2)
    if told:
        assert "whose truth lacks them: LES (one: 2 of 8; other: 7 of 8)" in told[0]


@pytest.mark.parametrize(("second", "told"), [(1.3244, False), (1.6241, True)])
def test_runs_that_were_scored_against_different_labels_are_told(second: float, told: bool) -> None:
    scan = {"cohort": "c", "subject": "07", "session": None, "abbreviation": "WM", "is_leaf": True}
    rows = [{**scan, "truth_ml": volume} for volume in (1.3244, second)]
    rows += [{**scan, "subject": "08", "truth_ml": 2.0}] * 2
    warnings = list(_different_truths(pd.DataFrame(rows)))
    assert bool(warnings) is told
    if told:
        assert "between runs in 1 scans (such as WM of 1.324 and of 1.624 ml)" in warnings[0]
        assert "07" not in warnings[0]  # a report may have to hide who it is about


def test_classes_of_other_leaves_are_told() -> None:
    scan = {"cohort": "c", "subject": "07", "session": None}
    leaf = {**scan, "abbreviation": "WM", "is_leaf": True, "truth_ml": 1.0}
    rows = [{**scan, "abbreviation": "TCV", "is_leaf": False, "truth_ml": v} for v in (3.0, 4.0)]
    (told,) = _different_truths(pd.DataFrame([leaf, leaf, *rows]))
    assert "give other leaves to TCV: in one scan TCV has 3 and 4 ml" in told
    assert not list(_different_truths(pd.DataFrame([leaf, leaf, rows[0], rows[0]])))
    (told,) = _different_truths(pd.DataFrame([leaf, {**leaf, "truth_ml": 2.0}, *rows]))
    assert "such as WM" in told, "labels of leaves differ, and so do those of classes"
