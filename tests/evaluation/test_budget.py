from __future__ import annotations

from pathlib import Path

import pytest

from neoseg.evaluation.budget import share_of_full


def write_tables(run: Path, train: int, full: int) -> None:
    split = [f"c,{n},,train" for n in range(train)] + ["c,v,,val", "other,o,,train"]
    streams = [f"c,{n},,train,{'full' if n < full else 'partial'}" for n in range(train)]
    (run / "split.csv").write_text("\n".join(["cohort,subject,session,split", *split]))
    rows = ["cohort,subject,session,split,stream", *streams, "c,v,,val,full", "other,o,,train,full"]
    (run / "annotation.csv").write_text("\n".join(rows))


@pytest.mark.parametrize("named", [{"full": ["0"]}, {"file": "who.csv"}])
@pytest.mark.parametrize(("train", "full", "share"), [(4, 1, 0.25), (4, 4, 1.0), (3, 1, 0.333)])
def test_of_named_subjects_the_share_is_theirs(
    tmp_path: Path, named: dict[str, object], train: int, full: int, share: float
) -> None:
    write_tables(tmp_path, train, full)
    config = {"cohort": {"name": "c"}, "annotation": {"full_fraction": 1.0, **named}}
    assert share_of_full(tmp_path, config) == share


@pytest.mark.parametrize("asked", [0.05, 1.0, None])
def test_else_it_is_what_was_asked_for(tmp_path: Path, asked: float | None) -> None:
    write_tables(tmp_path, 4, 1)
    config = {"cohort": {"name": "c"}, "annotation": {"full_fraction": asked, "full": None}}
    assert share_of_full(tmp_path, config) == asked


def test_without_tables_it_is_what_was_asked_for(tmp_path: Path) -> None:
    assert share_of_full(tmp_path, {"annotation": {"full_fraction": 0.3, "file": "who.csv"}}) == 0.3


def test_of_several_cohorts_the_share_is_of_all_people(tmp_path: Path) -> None:
    split = ["cohort,subject,split", "a,1,train", "a,2,test", "b,1,train", "b,2,train", "b,3,train"]
    plan = ["cohort,subject,split,stream", "a,1,train,full", "b,1,train,partial"]
    (tmp_path / "split.csv").write_text("\n".join(split) + "\n")
    (tmp_path / "annotation.csv").write_text("\n".join(plan) + "\n")
    config = {"cohort": {"name": "a"}, "annotation": {"full_fraction": 1.0}}
    assert share_of_full(tmp_path, config) == 1.0
    assert share_of_full(tmp_path, config | {"extra_cohorts": {"b": {}}}) == 0.25
