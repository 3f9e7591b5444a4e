"""Scores are not written over by those of something else."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from neoseg.cohort import Cohort, Scan
from neoseg.evaluation.cohorts import Scored
from neoseg.evaluation.provenance import (
    EVALUATION,
    evaluation_inputs,
    record_inputs,
    require_same_inputs,
)
from neoseg.findings.settings import ConfigError
from neoseg.labels import Convention, LabelSpace

TOLD = {"run": "a", "weights": "1", "cohorts": "bids (3 scans)", "files": "2", "settings": "3"}


def test_the_same_may_be_scored_again_and_a_try_that_failed_left_nothing(tmp_path: Path) -> None:
    require_same_inputs(tmp_path, TOLD)
    record_inputs(tmp_path, TOLD | {"files": "other"})
    require_same_inputs(tmp_path, TOLD)  # no scores came of it
    (tmp_path / "scores.csv").touch()
    record_inputs(tmp_path, TOLD)
    require_same_inputs(tmp_path, TOLD)


@pytest.mark.parametrize("key", TOLD)
def test_others_are_named(key: str, tmp_path: Path) -> None:
    (tmp_path / "scores.csv").touch()
    record_inputs(tmp_path, TOLD)
    with pytest.raises(ConfigError, match=rf"scores of run a, .* with other {key}, which would"):
        require_same_inputs(tmp_path, TOLD | {key: "another"})


@pytest.mark.parametrize("content", [None, "{}", "[]", "{"])
def test_scores_of_which_nothing_is_told_are_kept(content: str | None, tmp_path: Path) -> None:
    (tmp_path / "scores.csv").touch()
    if content is not None:
        (tmp_path / EVALUATION).write_text(content)
    with pytest.raises(ConfigError, match="has scores, with other run"):
        require_same_inputs(tmp_path, TOLD)


def test_what_is_known_of_a_scan_counts(tmp_path: Path, drawem9: LabelSpace) -> None:
    for name in ("image", "label", "mask", "weights"):
        (tmp_path / name).write_text(name)
    image, label, mask = (tmp_path / name for name in ("image", "label", "mask"))
    scan = Scan("1", None, (image,), label, mask, 40.0, None, "c")

    def details(scan: Scan) -> str:
        part = Scored(Cohort("c", (scan,), Convention.identity(drawem9), ("T2w",)), (scan,))
        return evaluation_inputs("run", tmp_path / "weights", [part], {})["details"]

    first = details(scan)
    assert details(scan) == first
    assert details(replace(scan, scan_age=30.0)) != first
    assert details(replace(scan, not_drawn=frozenset([5]))) != first
    mask.write_text("another")
    assert details(scan) != first
