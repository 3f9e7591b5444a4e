from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from neoseg.store.damage import DataError
from neoseg.store.locations import (
    bottom_k,
    hashes,
    merge_locations,
    read_located,
    read_locations,
    sample_locations,
    write_locations,
)


def brute(codes: np.ndarray, k: int) -> dict[int, list[int]]:
    """Sort all positions of each code by hash and keep the first k."""
    result: dict[int, list[tuple[int, int]]] = {}
    for position, code in enumerate(codes.ravel().tolist()):
        key = int(hashes(np.array([position]))[0])
        result.setdefault(code, []).append((key, position))
    return {code: [p for _, p in sorted(pairs)[:k]] for code, pairs in result.items()}


@pytest.mark.parametrize("k", [1, 3, 10, 10_000])
@pytest.mark.parametrize("seed", range(3))
def test_merging_samples_equals_sampling_what_was_merged(seed: int, k: int) -> None:
    rng = np.random.default_rng(seed)
    codes = rng.choice(7, (6, 7, 8), p=[0.5, 0.3, 0.1, 0.05, 0.03, 0.015, 0.005]).astype(np.uint8)
    lookup = np.zeros(256, np.uint8)
    lookup[:7] = rng.integers(0, 4, 7)
    merged = merge_locations(sample_locations(codes, k), lookup, k)
    assert {code: found.tolist() for code, found in merged.items()} == brute(lookup[codes], k)
    direct = sample_locations(lookup[codes], k)
    assert sorted(direct) == sorted(merged)
    for code, found in direct.items():
        np.testing.assert_array_equal(found, merged[code])
        assert found.dtype == merged[code].dtype == np.int64


def test_hashes_are_distinct_and_spread_over_the_volume() -> None:
    values = hashes(np.arange(100_000))
    assert np.unique(values).size == values.size
    kept = bottom_k(np.arange(100_000), 1000)
    counts, _ = np.histogram(kept, bins=10, range=(0, 100_000))
    assert counts.min() > 60
    assert counts.max() < 140


def test_no_positions_give_none() -> None:
    assert bottom_k(np.array([], dtype=np.int32), 5).dtype == np.int64
    assert bottom_k(np.array([], dtype=np.int32), 5).size == 0


def test_the_order_of_the_positions_does_not_matter() -> None:
    positions = np.random.default_rng(0).permutation(500)
    np.testing.assert_array_equal(bottom_k(positions, 20), bottom_k(np.arange(500), 20))


def test_positions_come_back_code_by_code(tmp_path: Path) -> None:
    codes = np.random.default_rng(0).choice(np.array([0, 3, 87, 255], np.uint8), (5, 6, 7))
    found = sample_locations(codes, 9)
    write_locations(tmp_path / "a.bin", found)
    assert read_located(tmp_path / "a.bin") == (0, 3, 87, 255)
    again = read_locations(tmp_path / "a.bin")
    assert {c: at.tolist() for c, at in again.items()} == {c: a.tolist() for c, a in found.items()}
    some = read_locations(tmp_path / "a.bin", [255, 1])
    assert some[255].tolist() == found[255].tolist()
    assert some[1].size == 0


def test_a_scan_without_codes_has_no_positions(tmp_path: Path) -> None:
    write_locations(tmp_path / "a.bin", {})
    assert read_located(tmp_path / "a.bin") == ()
    assert read_locations(tmp_path / "a.bin") == {}


@pytest.mark.parametrize(
    "content",
    [
        np.zeros(255, np.int64),
        np.zeros(256, np.int32),
        np.arange(300),
        np.array([-1, 1] + [0] * 254),
        np.array([2**62] * 4 + [0] * 252),
    ],
    ids=["short", "half", "sum", "negative", "overflow"],
)
def test_other_numbers_are_refused(tmp_path: Path, content: np.ndarray) -> None:
    content.tofile(tmp_path / "a.bin")
    why = f"its {content.nbytes} bytes are not the positions that it counts"
    with pytest.raises(DataError, match=rf"a\.bin is not what was written \({why}"):
        read_locations(tmp_path / "a.bin")


def test_a_file_that_is_cut_off_is_refused(tmp_path: Path) -> None:
    write_locations(tmp_path / "a.bin", {1: np.arange(50)})
    content = (tmp_path / "a.bin").read_bytes()
    for length in (0, 5, 100, 2048, len(content) - 8, len(content) - 1):
        (tmp_path / "a.bin").write_bytes(content[:length])
        with pytest.raises(DataError, match=r"a\.bin is not what was written"):
            read_located(tmp_path / "a.bin")
