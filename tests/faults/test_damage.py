"""Damaged files end in a listed problem or a correct result, never in anything else."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import images
import judge
import numpy as np
import pytest
from contradictions import contradiction
from judge import CORRECT, PROBLEM, TRACEBACK, WRONG, judge_image, judge_table, judged, make_tree

FIRST = 700_000
"""Other seeds than those of the full count, which `experiments/reliability` tells."""


def told(outcomes: list[judge.Outcome]) -> str:
    return "\n".join(
        f"seed {o.seed}, {o.group}, {o.kinds}: {o.verdict}\n{o.detail[-1500:]}"
        for o in outcomes
        if not o.is_fine
    )


@pytest.mark.parametrize(
    "count",
    [pytest.param(150, id="reduced"), pytest.param(2000, id="full", marks=pytest.mark.faults)],
)
def test_images_and_label_maps(tmp_path: Path, count: int) -> None:
    outcomes = [judge_image(seed, tmp_path) for seed in range(FIRST, FIRST + count)]
    assert not told(outcomes), told(outcomes)
    counts = Counter(outcome.verdict for outcome in outcomes)
    assert min(counts[PROBLEM], counts[CORRECT]) > count // 10


@pytest.mark.parametrize(
    "count",
    [pytest.param(150, id="reduced"), pytest.param(1000, id="full", marks=pytest.mark.faults)],
)
def test_tables(tmp_path: Path, count: int) -> None:
    make_tree(tmp_path)
    outcomes = [judge_table(seed, tmp_path) for seed in range(FIRST, FIRST + count)]
    assert not told(outcomes), told(outcomes)
    counts = Counter(outcome.verdict for outcome in outcomes)
    assert min(counts[PROBLEM], counts[CORRECT]) > count // 10


def test_a_wrong_reader_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = judge.read_volume

    def careless(path: Path, dtype: type = np.float32):
        volume = plain(path, dtype)
        volume.data[0, 0, 0] += 1
        return volume

    monkeypatch.setattr(judge, "read_volume", careless)
    verdicts = Counter(judge_image(seed, tmp_path).verdict for seed in range(FIRST, FIRST + 20))
    assert verdicts[CORRECT] == 0
    assert verdicts[WRONG] > 0


def test_a_header_that_lies_is_no_correct_result(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("neoseg.store.nifti.check_header", lambda *_: [])
    outcomes = [judge_image(seed, tmp_path) for seed in range(FIRST, FIRST + 60)]
    assert any("against its own" in outcome.detail for outcome in outcomes)


def test_what_a_sound_file_says_twice_agrees() -> None:
    rng = np.random.default_rng(0)
    assert {contradiction(images.sound(rng, False)) for _ in range(40)} == {""}


def test_an_error_of_another_kind_is_found() -> None:
    def fails() -> None:
        raise ZeroDivisionError

    assert judged(0, "g", "k", fails).verdict == TRACEBACK
