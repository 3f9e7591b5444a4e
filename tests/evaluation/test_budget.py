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


@pytest.mark.parametrize(
    ("asked", "train", "full", "share"),
    [
        (0.02, 160, 3, 0.02),  # as many as that makes, rounded
        (0.05, 19, 1, 0.05),
        (0.05, 4, 1, 0.25),  # at least one
        (1.0, 4, 1, 0.25),  # named subjects
        (1.0, 4, 4, 1.0),
        (None, 4, 1, None),
    ],
)
def test_the_share_is_that_of_the_subjects(
    tmp_path: Path, asked: float | None, train: int, full: int, share: float | None
) -> None:
    write_tables(tmp_path, train, full)
    config = {"cohort": {"name": "c"}, "annotation": {"full_fraction": asked}}
    assert share_of_full(tmp_path, config) == share


def test_without_tables_it_is_what_was_asked_for(tmp_path: Path) -> None:
    assert share_of_full(tmp_path, {"annotation": {"full_fraction": 0.3}}) == 0.3
