from __future__ import annotations

from collections import Counter

import pytest

from neoseg.patches.streams import compose
from neoseg.store.damage import DataError

# Scans 0-1 full, 2-6 partial, 7-9 unlabelled.
STREAMS = [0, 0, 1, 1, 1, 1, 1, 2, 2, 2]


@pytest.mark.parametrize(
    ("size", "mix", "counts"),
    [
        (10, None, (2, 5, 3)),
        (20, None, (4, 10, 6)),
        (4, {"full": 1, "partial": 1}, (2, 2, 0)),
        (4, {"full": 3, "partial": 1}, (3, 1, 0)),
        (6, {"full": 1, "partial": 1, "unlabelled": 1}, (2, 2, 2)),
        (3, {"full": 100, "partial": 1, "unlabelled": 1}, (1, 1, 1)),
        (5, {"full": 100, "partial": 1, "unlabelled": 1}, (3, 1, 1)),
        (4, {"full": 0.5, "partial": 0.5, "unlabelled": 0}, (2, 2, 0)),
        (1, {"unlabelled": 1}, (0, 0, 1)),
    ],
)
def test_a_batch_is_divided_by_the_shares(size, mix, counts) -> None:
    composition = compose(STREAMS, size, mix)
    assert composition.counts == counts
    assert composition.batch_size == size


@pytest.mark.parametrize(
    ("size", "full", "told"), [(2, 0.2, True), (4, 0.25, False), (4, 0.2, False), (2, 0.3, False)]
)
def test_a_step_that_cannot_have_the_shares_says_so(
    size: int, full: float, told: bool, caplog: pytest.LogCaptureFixture
) -> None:
    compose([0, 2, 2], size, {"full": full, "unlabelled": 1 - full})
    assert ("patches.mix asks for 0.4 full, 1.6 unlabelled of a step's 2" in caplog.text) == told


def test_a_stream_without_scans_gives_its_share_to_the_others() -> None:
    assert compose([0, 0, 1], 4, {"full": 1, "partial": 1, "unlabelled": 2}).counts == (2, 2, 0)


@pytest.mark.parametrize("size", range(3, 40))
def test_every_used_stream_has_an_item_and_none_is_lost(size: int) -> None:
    counts = compose(STREAMS, size, {"full": 1, "partial": 7, "unlabelled": 0.3}).counts
    assert sum(counts) == size
    assert min(counts) >= 1


@pytest.mark.parametrize("step_of_round", [0, 3, 11])
def test_every_round_of_a_stream_is_a_permutation_of_its_scans(step_of_round: int) -> None:
    composition = compose(STREAMS, 5, {"full": 2, "partial": 3})  # counts 2, 3
    for stream, members in ((0, {0, 1}), (1, {2, 3, 4, 5, 6})):
        drawn = [
            found
            for step in range(60)
            for item in range(5)
            for kind, found in [composition.scan_of(9, step, item)]
            if kind == stream
        ]
        length = len(members)
        rounds = [drawn[i : i + length] for i in range(0, len(drawn) // length * length, length)]
        assert all(set(one) == members for one in rounds)
        assert len({tuple(one) for one in rounds[step_of_round:]}) > 1


def test_a_scan_depends_on_seed_step_and_item_alone() -> None:
    composition = compose(STREAMS, 5, None)
    forwards = {(s, i): composition.scan_of(1, s, i) for s in range(30) for i in range(5)}
    fresh = compose(list(STREAMS), 5, None)
    for step, item in reversed(list(forwards)):
        assert fresh.scan_of(1, step, item) == forwards[step, item]
    assert any(fresh.scan_of(2, s, i) != found for (s, i), found in forwards.items())


@pytest.mark.parametrize("item", [-1, 5])
def test_an_item_outside_the_step_is_an_error(item: int) -> None:
    with pytest.raises(IndexError, match=f"item {item} of a step with 5"):
        compose(STREAMS, 5, None).scan_of(0, 0, item)


@pytest.mark.parametrize(
    ("streams", "size", "mix", "message"),
    [
        (STREAMS, 4, {"whole": 1}, "whole"),
        (STREAMS, 4, {"full": -1, "partial": 2}, "shares from 0 up"),
        (STREAMS, 4, {"full": float("inf")}, "shares from 0 up"),
        (STREAMS, 4, {"full": float("nan")}, "shares from 0 up"),
        (STREAMS, 4, {"full": 0}, "no training scans are left"),
        ([0, 0], 4, {"partial": 1}, "no training scans are left"),
        ([], 4, None, "no training scans are left"),
        (STREAMS, 2, None, "raise it to 3"),
        (STREAMS, 1, {"full": 1, "partial": 1}, "raise it to 2"),
    ],
)
def test_what_cannot_be_composed_is_refused(streams, size, mix, message: str) -> None:
    with pytest.raises(DataError, match=message):
        compose(streams, size, mix)


COHORTS = [0, 1, 0, 0, 1, 1, 2, 0, 0, 2]
"""Of the ten scans above: the streams have the cohorts {0, 1}, {0, 1, 2} and {0, 2}."""


def cohorts_of(weights: list[float | None], steps: range, size: int = 6) -> list[list[Counter]]:
    """Count the items of each cohort, by step and stream."""
    mix = {"full": 1, "partial": 1, "unlabelled": 1}
    composition = compose(STREAMS, size, mix, COHORTS, weights)
    found = []
    for step in steps:
        row = [Counter() for _ in range(3)]
        for item in range(size):
            stream, scan = composition.scan_of(5, step, item)
            assert STREAMS[scan] == stream
            row[stream][COHORTS[scan]] += 1
        found.append(row)
    return found


@pytest.mark.parametrize(
    ("weights", "shares"),
    [
        ([1.0, 1.0, 1.0], [{0: 1 / 2, 1: 1 / 2}, {0: 1 / 3, 1: 1 / 3, 2: 1 / 3}, {0: 0.5, 2: 0.5}]),
        ([3.0, 1.0, 1.0], [{0: 3 / 4, 1: 1 / 4}, {0: 0.6, 1: 0.2, 2: 0.2}, {0: 3 / 4, 2: 1 / 4}]),
        ([1.0, 0.3, 0.0], [{0: 10 / 13, 1: 3 / 13}, {0: 10 / 13, 1: 3 / 13}, {0: 1.0}]),
        ([None, None, None], [{0: 0.5, 1: 0.5}, {0: 0.4, 1: 0.4, 2: 0.2}, {0: 2 / 3, 2: 1 / 3}]),
    ],
)
def test_each_cohort_has_its_share_of_every_stream(weights, shares) -> None:
    steps = 390
    rows = cohorts_of(weights, range(steps))
    for stream in range(3):
        total = sum((row[stream] for row in rows), Counter())
        assert set(total) == set(shares[stream])
        for cohort, share in shares[stream].items():
            assert abs(total[cohort] - 2 * steps * share) < 2
        # Evenly spread: no stretch of the training goes without its share.
        for start in range(0, steps - 30, 7):
            part = sum((row[stream] for row in rows[start : start + 30]), Counter())
            assert all(abs(part[c] - 60 * s) <= 2 for c, s in shares[stream].items())


def test_far_steps_are_as_exact_as_the_first() -> None:
    far = 10**12
    rows = cohorts_of([1.0, 0.3, 0.7], range(far, far + 260))
    total = sum((row[0] for row in rows), Counter())
    assert abs(total[1] - 520 * 3 / 13) < 2


def test_scans_of_each_cohort_come_in_rounds_of_their_own() -> None:
    composition = compose(STREAMS, 3, {"partial": 1}, COHORTS, [1.0, 0.5, 2.0])
    drawn = [composition.scan_of(3, step, item)[1] for step in range(70) for item in range(3)]
    for cohort, members in ((0, {2, 3}), (1, {4, 5}), (2, {6})):
        own = [scan for scan in drawn if COHORTS[scan] == cohort]
        rounds = [own[i : i + len(members)] for i in range(0, len(own) - 1, len(members))]
        assert all(set(one) == members for one in rounds if len(one) == len(members))


def test_further_cohorts_leave_the_rounds_of_the_first() -> None:
    alone = compose([0, 0, 0, 0], 1, None)
    both = compose([0, 0, 0, 0, 0], 1, None, [0, 0, 0, 0, 1], [1.0, 1.0])
    first = [alone.scan_of(7, step, 0)[1] for step in range(40)]
    found = [both.scan_of(7, step, 0)[1] for step in range(80)]
    assert [scan for scan in found if scan < 4] == first


def test_a_scan_of_several_cohorts_is_a_function_of_its_item() -> None:
    composition = compose(STREAMS, 6, None, COHORTS, [1.0, 0.3, 0.7])
    keys = [(step, item) for step in range(9) for item in range(6)]
    there = [composition.scan_of(1, *key) for key in keys]
    back = [composition.scan_of(1, *key) for key in reversed(keys)]
    assert there == back[::-1]


def test_a_cohort_without_weight_that_is_alone_in_a_stream_leaves_the_stream_empty() -> None:
    composition = compose([0, 2], 2, {"full": 1, "unlabelled": 1}, [0, 1], [1.0, 0.0])
    assert composition.counts == (2, 0, 0)
