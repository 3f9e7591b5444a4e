"""Scores of a scan: what is scored, the policy for empty masks, and the numbers."""

from __future__ import annotations

import math
from dataclasses import fields

import numpy as np
import pytest
import torch
from scipy.spatial.distance import cdist

from neoseg.evaluation.scores import ClassScore, scorable_classes, score_scan
from neoseg.evaluation.surface import border, surface_dice
from neoseg.labels import UNKNOWN, Codebook

SHAPE = (12, 10, 8)
SPACING = (0.5, 0.8, 2.0)
DISTANCES = ("hd95", "hd", "assd")
BG, L, R, CSF = range(4)


def volumes() -> tuple[np.ndarray, np.ndarray]:
    """A truth of leaf positions with all leaves, and a prediction with errors in each."""
    truth = np.zeros(SHAPE, np.uint8)
    truth[1:5, 2:8, 1:6] = L
    truth[6:11, 2:8, 1:6] = R
    truth[3:9, 8:, 6:] = CSF
    prediction = np.roll(truth, (1, -1), (0, 1))
    prediction[11, 9, 7] = R
    return truth, prediction


def by_name(scores: list[ClassScore]) -> dict[str, ClassScore]:
    return {score.abbreviation: score for score in scores}


def test_numbers_equal_brute_force(codebook) -> None:
    truth, prediction = volumes()
    scores = score_scan(prediction, truth + np.uint8(1), codebook, SPACING)
    assert [score.abbreviation for score in scores] == ["L", "R", "CSF", "LR"]
    for score, leaves in zip(scores, ([L], [R], [CSF], [L, R]), strict=True):
        p, t = np.isin(prediction, leaves), np.isin(truth, leaves)
        points = [np.argwhere(border(mask)) for mask in (p, t)]
        table = cdist(*(place * np.array(SPACING) for place in points))
        sets = table.min(axis=1), table.min(axis=0)
        overlap, total = (p & t).sum(), p.sum() + t.sum()
        assert score.dice == pytest.approx(2 * overlap / total, abs=1e-12)
        assert score.paper_dice == pytest.approx((2 * overlap + 1) / (total + 1), abs=1e-12)
        assert score.hd == pytest.approx(max(d.max() for d in sets), abs=1e-6)
        assert score.hd95 == pytest.approx(max(np.percentile(d, 95) for d in sets), abs=1e-6)
        assert score.assd == pytest.approx(np.concatenate(sets).mean(), abs=1e-6)
        voxels = cdist(*points)
        expected = max(voxels.min(axis=0).max(), voxels.min(axis=1).max())
        assert score.paper_hd_voxels == pytest.approx(expected, abs=1e-6)
        assert score.nsd == pytest.approx(surface_dice(p, t, SPACING, 1.0), abs=1e-6)
        assert score.volume_error_ml == pytest.approx((p.sum() - t.sum()) * 0.8 / 1000, abs=1e-12)
        assert score.volume_error == pytest.approx(p.sum() / t.sum() - 1, abs=1e-9)
        assert (score.known, score.nsd_tolerance) == (1, 1)
        assert score.truth_ml == pytest.approx(t.sum() * 0.8 / 1000)
        assert score.prediction_ml == pytest.approx(p.sum() * 0.8 / 1000)
        assert score.is_leaf == (len(leaves) == 1)
        assert not score.missed
        assert not score.invented


def test_volumes_of_a_sheared_grid(codebook) -> None:
    truth, prediction = volumes()
    codes = truth + np.uint8(1)
    upright, sheared = (
        score_scan(prediction, codes, codebook, SPACING, voxel_ml=ml) for ml in (None, 0.0006)
    )
    for one, other in zip(upright, sheared, strict=True):
        assert other.truth_ml == pytest.approx(one.truth_ml * 0.75)
        assert other.prediction_ml == pytest.approx(one.prediction_ml * 0.75)
        assert (other.dice, other.hd95) == (one.dice, one.hd95)


def test_tensors_are_scored_like_arrays(codebook) -> None:
    prediction, truth = volumes()
    tensors = [torch.from_numpy(volume) for volume in (prediction, truth)]
    assert repr(score_scan(*tensors, codebook, SPACING)) == repr(
        score_scan(prediction, truth, codebook, SPACING)
    )


def test_perfect_prediction(codebook) -> None:
    truth, _ = volumes()
    for score in score_scan(truth, truth + np.uint8(1), codebook, SPACING):
        assert (score.dice, score.paper_dice, score.nsd, score.volume_error) == (1, 1, 1, 0)
        assert (score.hd95, score.hd, score.assd, score.paper_hd_voxels) == (0, 0, 0, 0)


@pytest.mark.parametrize(
    ("in_truth", "in_prediction", "missed", "invented"),
    [(True, False, True, False), (False, True, False, True)],
)
def test_one_empty_is_the_worst_score(codebook, in_truth, in_prediction, missed, invented) -> None:
    truth, prediction = volumes()
    if not in_truth:
        truth[truth == CSF] = BG
    if not in_prediction:
        prediction[prediction == CSF] = BG
    score = by_name(score_scan(prediction, truth + np.uint8(1), codebook, SPACING))["CSF"]
    assert (score.dice, score.paper_dice, score.nsd) == (0, 0, 0)
    assert math.isnan(score.volume_error) == (not in_truth)
    assert score.volume_error_ml * (1 if in_prediction else -1) > 0
    diagonal = math.sqrt((12 * 0.5) ** 2 + (10 * 0.8) ** 2 + (8 * 2.0) ** 2)
    for name in DISTANCES:
        assert getattr(score, name) == pytest.approx(diagonal)
    assert score.paper_hd_voxels == pytest.approx(math.sqrt(12**2 + 10**2 + 8**2))
    assert (score.missed, score.invented) == (missed, invented)


def test_both_empty_is_not_applicable(codebook) -> None:
    truth, prediction = volumes()
    truth[truth == CSF] = BG
    prediction[prediction == CSF] = BG
    score = by_name(score_scan(prediction, truth + np.uint8(1), codebook, SPACING))["CSF"]
    for name in ("dice", "nsd", "paper_dice", "paper_hd_voxels", "volume_error", *DISTANCES):
        assert math.isnan(getattr(score, name))
    assert (score.missed, score.invented, score.truth_ml, score.prediction_ml) == (False,) * 2 + (
        0,
        0,
    )


def test_merged_truth_scores_the_super_class_and_not_its_leaves(codebook, space) -> None:
    truth, prediction = volumes()
    codes = truth + np.uint8(1)
    codes[truth == L] = codebook.code(space.label_set("LR"))
    codes[truth == R] = codebook.code(space.label_set("LR"))
    scores = by_name(score_scan(prediction, codes, codebook, SPACING))
    assert set(scores) == {"CSF", "LR"}
    full = by_name(score_scan(prediction, truth + np.uint8(1), codebook, SPACING))
    assert scores["LR"] == full["LR"]
    assert scores["CSF"] == full["CSF"]


def test_unknown_voxels_are_left_out_of_overlap_and_volumes(codebook) -> None:
    """A truth of some slices scores them; where knowledge ends there is no surface."""
    truth, prediction = volumes()
    codes = truth + np.uint8(1)
    codes[:, :, 4:] = UNKNOWN
    scores = by_name(score_scan(prediction, codes, codebook, SPACING))
    # No voxel of fluid is known to be there, and some may be: it cannot be scored.
    assert set(scores) == {"L", "R", "LR"}
    cut = by_name(
        score_scan(prediction[:, :, :4], truth[:, :, :4] + np.uint8(1), codebook, SPACING)
    )
    for name, score in scores.items():
        for field in ("dice", "paper_dice", "truth_ml", "prediction_ml", "volume_error"):
            assert getattr(score, field) == getattr(cut[name], field)
        assert all(math.isnan(getattr(score, field)) for field in (*DISTANCES, "nsd"))
        assert math.isnan(score.paper_hd_voxels)
        assert score.known == 0.5


def test_a_miss_on_known_slices_has_no_distance_either(codebook) -> None:
    truth, prediction = volumes()
    codes = truth + np.uint8(1)
    codes[:, :, 4:] = UNKNOWN
    prediction[prediction == L] = BG
    score = by_name(score_scan(prediction, codes, codebook, SPACING))["L"]
    assert (score.dice, score.missed) == (0, True)
    assert math.isnan(score.hd)


def test_a_merged_part_hides_its_children_there_alone(codebook, space) -> None:
    """Left is told on some slices, left or right on the others."""
    truth, prediction = volumes()
    codes = truth + np.uint8(1)
    merged = np.isin(truth, [L, R])
    merged[:, :, :3] = False
    codes[merged] = codebook.code(space.label_set("LR"))
    scores = by_name(score_scan(prediction, codes, codebook, SPACING))
    assert scores["LR"].known == scores["CSF"].known == 1
    assert scores["L"].known == pytest.approx(1 - merged.mean())
    p, t = (prediction == L) & ~merged, (truth == L) & ~merged
    assert scores["L"].dice == pytest.approx(2 * (p & t).sum() / (p.sum() + t.sum()), abs=1e-12)


def test_a_whole_of_which_a_part_was_not_drawn_is_not_scored(space) -> None:
    """Left is not drawn, so the background may be left: nothing would count as too much of both."""
    book = Codebook.build(space, [space.label_set(["BG", "L"])])
    truth, prediction = volumes()
    codes = truth + np.uint8(1)
    codes[np.isin(truth, [BG, L])] = book.code(space.label_set(["BG", "L"]))
    scores = by_name(score_scan(prediction, codes, book, SPACING))
    assert set(scores) == {"R", "CSF"}
    rim = np.isin(truth, [L]) & (np.arange(SHAPE[2]) < 1)  # a few doubtful voxels are left out
    few = np.where(rim, book.code(space.label_set(["BG", "L"])), truth + np.uint8(1))
    scores = by_name(score_scan(prediction, few.astype(np.uint8), book, SPACING))
    assert set(scores) == {"L", "R", "LR", "CSF"}


def test_everything_unknown_leaves_nothing_to_score(codebook) -> None:
    _, prediction = volumes()
    codes = np.full(SHAPE, UNKNOWN, np.uint8)
    assert score_scan(prediction, codes, codebook, SPACING) == []


def test_the_tolerance_is_what_was_asked_for(codebook) -> None:
    truth, prediction = volumes()
    strict, loose = (
        by_name(score_scan(prediction, truth + np.uint8(1), codebook, SPACING, nsd_tolerance=t))[
            "L"
        ]
        for t in (0.1, 50.0)
    )
    assert strict.nsd < loose.nsd == 1
    assert (strict.nsd_tolerance, loose.nsd_tolerance) == (0.1, 50.0)


def test_background_is_not_scored(codebook, space) -> None:
    counts = np.zeros(codebook.size, int)
    counts[1:5] = 7
    assert space.background not in scorable_classes(counts, codebook)
    assert set(scorable_classes(counts, codebook).values()) == {1.0}


def test_without_distances_the_rest_stays(codebook) -> None:
    truth, prediction = volumes()
    prediction[prediction == CSF] = BG
    full = score_scan(prediction, truth + np.uint8(1), codebook, SPACING)
    quick = score_scan(prediction, truth + np.uint8(1), codebook, SPACING, distances=False)
    for one, other in zip(full, quick, strict=True):
        for entry in fields(ClassScore):
            value = getattr(other, entry.name)
            if entry.name in (*DISTANCES, "paper_hd_voxels", "nsd", "violation", "ece"):
                assert math.isnan(value)
            else:
                assert value == getattr(one, entry.name)


def test_isotropic_voxel_distance_with_rounded_spacing(codebook) -> None:
    truth, prediction = volumes()
    spacing = (0.5, 0.5 + 1e-8, 0.5 - 1e-8)
    rounded = score_scan(prediction, truth + np.uint8(1), codebook, spacing)
    exact = score_scan(prediction, truth + np.uint8(1), codebook, (1.0, 1.0, 1.0))
    for one, other in zip(rounded, exact, strict=True):
        assert one.paper_hd_voxels == pytest.approx(other.hd, rel=1e-6)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda p, t: (p[:-1], t, SPACING), "one shape"),
        (lambda p, t: (p.astype(np.float32), t, SPACING), "whole numbers"),
        (lambda p, t: (p + np.uint8(4), t, SPACING), "prediction holds values from 4"),
        (lambda p, t: (p, t + np.uint8(9), SPACING), "truth holds values"),
        (lambda p, t: (p, t, (0.5, 0.0, 0.5)), "spacing"),
        (lambda p, t: (p, t, (0.5, float("nan"), 0.5)), "spacing"),
    ],
)
def test_wrong_input_is_named(codebook, change, message) -> None:
    truth, prediction = volumes()
    with pytest.raises(ValueError, match=message):
        score_scan(
            *change(prediction, truth + np.uint8(1))[:2], codebook, change(prediction, truth)[2]
        )
