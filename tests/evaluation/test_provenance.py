"""Scores are not written over by those of something else."""

from __future__ import annotations

from pathlib import Path

import pytest

from neoseg.evaluation.provenance import EVALUATION, record_inputs, require_same_inputs
from neoseg.findings.settings import ConfigError

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
