"""Chains of classes, conformal risk control, and whether promises are kept where truth is known."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.stats import binom

from neoseg.inference.segmentation import Segmentation
from neoseg.labels import Codebook, LabelSpace
from neoseg.store import Geometry
from neoseg.trust.appearance import appearance, unlikeness
from neoseg.trust.calibration import Calibration
from neoseg.trust.chain import Chains
from neoseg.trust.observation import Observation, Observer
from neoseg.trust.risk import GRID, choose, scans_needed, tally

EYE = tuple(map(tuple, np.eye(4).tolist()))


def geometry(voxels: int) -> Geometry:
    shape = (voxels, 1, 1)
    crop = ((0, voxels), (0, 1), (0, 1))
    return Geometry(shape, EYE, shape, crop, shape, EYE)


def observed(space: LabelSpace, probabilities: np.ndarray, codes: np.ndarray) -> Observation:
    """`[K, N]` and the codes `[N]`."""
    book = Codebook.build(space, [frozenset([1, 2])])
    truth = codes.astype(np.uint8).reshape(-1, 1, 1)
    observer = Observer(Chains.of(space), book, lambda _: truth)
    whole = (slice(0, len(codes)), slice(0, 1), slice(0, 1))
    piece = torch.from_numpy(probabilities.astype(np.float32))[..., None, None]
    observer(piece, whole, geometry(len(codes)))
    image = np.arange(len(codes), dtype=np.float32).reshape(truth.shape)
    found = Segmentation(truth, truth, image, geometry(len(codes)))
    return observer.observation("s", {}, found)


def simulated(space: LabelSpace, rng: np.random.Generator) -> Observation:
    """A scan of a network that is too sure of itself, more in some scans than in others."""
    logits = rng.normal(0, 2, (4, 60))
    right = np.exp(logits) / np.exp(logits).sum(0)
    truth = (right.cumsum(0) > rng.random(60)).argmax(0)
    sure = np.exp(logits * rng.uniform(1, 3))
    return observed(space, sure / sure.sum(0), truth + 1)


def test_chains_are_nested_and_end_in_all(space: LabelSpace) -> None:
    chains = Chains.of(space)
    names = [[chains.answers[n].abbreviation for n in row] for row in chains.places]
    assert names == [
        ["BG", "unknown", "unknown"],
        ["L", "LR", "unknown"],
        ["R", "LR", "unknown"],
        ["CSF", "unknown", "unknown"],
    ]
    assert chains.depth.tolist() == [1, 1, 1, 1, 0.5, 0]


def test_doubts_are_what_lies_outside(space: LabelSpace) -> None:
    leaves, doubts = Chains.of(space).doubts(torch.tensor([[0.1], [0.6], [0.25], [0.05]]))
    assert leaves.tolist() == [1]
    np.testing.assert_allclose(doubts[:, 0], [0.4, 0.15, 0], atol=1e-6)


def test_answers_that_contradict_the_truth_count(space: LabelSpace) -> None:
    """Codes 1 to 4 are the leaves, 5 is {L, R}, 0 unknown."""
    column = np.array([[0.1], [0.6], [0.25], [0.05]])
    told = {2: 0, 3: 1, 4: 2, 5: 0}  # truth -> steps that the answer must take
    for code, steps in told.items():
        seen = observed(space, column, np.array([code]))
        doubt = [2.0, 0.4, 0.15][steps]
        np.testing.assert_array_equal(seen.wrong[0], (doubt <= GRID + 1e-6) & (steps > 0))
    assert observed(space, column, np.array([0])).total[0] == 0
    assert not observed(space, column, np.array([5])).whole


def test_background_beyond_doubt_does_not_count(space: LabelSpace) -> None:
    sure = np.array([[0.9], [0.1], [0], [0]])
    assert observed(space, sure, np.array([1])).total[0] == 0
    assert observed(space, sure, np.array([2])).total.tolist() == [1, 0, 1, 0, 0]


def test_the_choice_is_that_of_the_formula() -> None:
    losses = np.random.default_rng(0).random((30, len(GRID)))
    losses = np.sort(losses, axis=1)[:, ::-1]
    losses[:, -1] = 0
    place = choose(losses.sum(0), 30, 0.2)
    bound = 30 / 31 * losses.mean(0) + 1 / 31
    assert bound[place] <= 0.2 < bound[place - 1]
    assert [scans_needed(a) for a in (0.05, 0.1, 0.2)] == [19, 9, 4]
    assert choose(losses[:18].sum(0), 18, 0.05) is None
    np.testing.assert_array_equal(tally(np.array([0.5, 0.0])), (GRID >= 0.5) * 1.0 + (GRID >= 0))


@pytest.mark.parametrize("promise", ["scan", "structure"])
def test_promises_are_kept_on_simulated_scans(space: LabelSpace, promise: str) -> None:
    """The mean share of wrong voxels over draws of calibration and next scan is at most alpha."""
    rng = np.random.default_rng(1)
    pool = [simulated(space, rng) for _ in range(600)]
    found = []
    for _ in range(200):
        chosen = rng.permutation(len(pool))
        limits = Calibration.of(space, [pool[n] for n in chosen[:40]]).limits(0.9, promise)
        assert limits is not None
        row = 0 if promise == "scan" else 2
        doubt = limits.doubts[1]
        place = int(np.flatnonzero(np.isclose(GRID, doubt))[0])
        found.append(np.mean([pool[n].losses[row, place] for n in chosen[40:240]]))
    wrong = float(np.mean(found))
    assert 0.05 < wrong <= 0.1 + 0.005
    plain = float(np.mean([o.losses[0, 0] for o in pool]))
    assert plain > 0.2  # the decisions alone keep no such promise


def test_predicted_dice_holds_the_truth_as_often_as_said(space: LabelSpace) -> None:
    rng = np.random.default_rng(2)
    empty = simulated(space, rng)

    def scan() -> Observation:
        expected = rng.uniform(0.6, 0.9)
        dice = float(np.clip(expected - 0.1 + rng.normal(0, 0.05), 0, 1))
        return Observation(**{**vars(empty), "expected": {"L": expected}, "dice": {"L": dice}})

    inside = 0
    for _ in range(300):
        known = [scan() for _ in range(19)]
        calibration = Calibration.of(space, known)
        new = scan()
        told = calibration.predicted("L", new.expected["L"], 0.9)
        assert told is not None
        inside += told[1] <= new.dice["L"] <= told[2]
    assert binom.cdf(inside, 300, 0.9) > 0.001
    assert binom.sf(inside - 1, 300, 0.9) > 0.001
    assert Calibration.of(space, known[:18]).predicted("L", 0.8, 0.9) is None


def test_a_strange_scan_is_told_from_the_known() -> None:
    rng = np.random.default_rng(3)
    known = [{"voxel": rng.normal(), "noise": rng.normal()} for _ in range(39)]
    p, what = unlikeness(known, {"voxel": 0.0, "noise": 9.0})
    assert (p, what) == (1 / 40, "noise")
    alarms = [
        unlikeness(known, {"voxel": rng.normal(), "noise": rng.normal()})[0] <= 0.05
        for _ in range(200)
    ]
    assert np.mean(alarms) < 0.15


def test_a_contrast_turned_around_shows_in_the_answer() -> None:
    """The image alone looks like the others: its dark and bright parts are of one size."""
    rng = np.random.default_rng(4)
    where = np.zeros((6, 6, 6), dtype=bool)
    where[:3] = True
    shape = (6, 6, 6)
    place = Geometry(shape, EYE, shape, ((0, 6),) * 3, shape, EYE)
    scans = [where * 2.0 + rng.normal(0, 0.3, shape) for _ in range(40)]
    known = [appearance(scan, place, scan > 1, 0.9) for scan in scans[:39]]
    usual, turned = scans[39], 2 - scans[39]
    assert unlikeness(known, appearance(usual, place, usual > 1, 0.9))[0] > 0.05
    fooled = appearance(turned, place, turned < 1, 0.9)  # found in the right place all the same
    assert unlikeness(known, fooled) == (1 / 40, "brightness where labelled")


def test_observations_survive_json(space: LabelSpace) -> None:
    for seed in range(20):  # of some the last depth is less than 0 by rounding
        seen = simulated(space, np.random.default_rng(seed))
        again = Observation.from_plain(seen.plain(), 4)
        np.testing.assert_array_equal(again.wrong, seen.wrong)
    with pytest.raises(ValueError, match="are not those of an observation"):
        Observation.from_plain(seen.plain(), 5)
