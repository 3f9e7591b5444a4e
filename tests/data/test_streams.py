from __future__ import annotations

import pytest

from neoseg.data.streams import compose
from neoseg.data.volume import DataError

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
