"""Runs that were tested on several cohorts."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
import yaml
from sweep import scores_of, write_run

from neoseg.cohort.plan import cohort_folder
from neoseg.evaluation.report.arms import summarise_arms, with_arms
from neoseg.evaluation.report.cases import case_views, choose_cases
from neoseg.evaluation.report.cautions import _several_cohorts, _unequal_scans
from neoseg.evaluation.report.collect import collect
from neoseg.evaluation.report.compare import ReportSettings, compare
from neoseg.evaluation.table import write_scores

OWN = {("p1", "1"): {"GM": 0.9, "WM": 0.8}, ("t2", "1"): {"GM": 0.7, "WM": 0.7}}
OTHER = {("p1", "1"): {"GM": 0.2, "WM": 0.4}}


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    """One run of the phantom alone, and one with another cohort in which a name comes again."""
    write_run(tmp_path / "alone", OWN, name="alone")
    both = write_run(tmp_path / "both", OWN, name="both")
    extra = {"fetal": {"cohort": {"_target_": "neoseg.cohort.read_bids"}}}
    config = yaml.safe_load((both / "config.yaml").read_text())
    (both / "config.yaml").write_text(yaml.safe_dump(config | {"extra_cohorts": extra}))
    write_run(cohort_folder(both, "fetal"), OTHER, name="unused")
    (cohort_folder(both, "fetal") / "config.yaml").unlink()
    tables = [scores_of(OWN).assign(cohort="phantom"), scores_of(OTHER).assign(cohort="fetal")]
    write_scores(both / "scores.csv", pd.concat(tables))
    return tmp_path


def test_scans_of_one_name_are_paired_within_their_cohort(runs: Path) -> None:
    found = collect(runs)
    assert set(found.scores["subject"]) == {"phantom/p1", "phantom/t2", "fetal/p1"}
    frame = with_arms(found.scores)
    table = summarise_arms(frame[frame["age_group"] == "preterm"])
    grey = table[(table["abbreviation"] == "GM") & (table["metric"] == "dice")]
    rows = grey[grey["age_group"] == "preterm"].set_index("experiment")
    assert rows.loc["alone", ["scans", "subjects"]].tolist() == [1, 1]
    assert rows.loc["both", ["scans", "subjects"]].tolist() == [2, 2]
    assert rows.loc["both", "mean"] == pytest.approx(0.55)


@pytest.mark.parametrize(("leaks", "people"), [("stop", 2), ("tell", 2), ("namesakes", 3)])
def test_a_person_of_two_cohorts_counts_once(runs: Path, leaks: str, people: int) -> None:
    for path in runs.glob("*/config.yaml"):
        path.write_text(yaml.safe_dump(yaml.safe_load(path.read_text()) | {"leaks": leaks}))
    comparison = compare(runs, ReportSettings())
    assert f"scored on 3 scans of {people} subjects" in comparison.about
    table = comparison.summary
    row = table[(table["abbreviation"] == "GM") & (table["metric"] == "dice")]
    counts = row[row["age_group"] == "all"].set_index("experiment")["subjects"]
    assert counts.to_dict() == {"alone": 2, "both": people}
    shared = compare(runs, ReportSettings(), "subjects").collected.scores
    assert shared["person"].nunique() == people
    assert set(shared["person"]) <= set(shared["subject"])


def test_the_dice_of_each_cohort_is_told(runs: Path) -> None:
    (told,) = _several_cohorts(with_arms(collect(runs).scores))
    assert "phantom (2 scans), fetal (1 scans)" in told
    assert "both, 5 %: 0.775 in phantom, 0.300 in fetal" in told
    assert "alone, 5 %: 0.775 in phantom" in told
    alone = with_arms(collect(runs / "alone").scores)
    assert not list(_several_cohorts(alone))


def test_scans_that_show_few_structures_do_not_hide_who_is_better(tmp_path: Path) -> None:
    """The one wins by scans, the other by structures: both means are told."""
    few, many = ("p1", "1"), ("t1", "1")
    write_run(tmp_path / "a", {few: {"GM": 0.9}, many: {"GM": 0.5, "WM": 0.5}}, name="a")
    write_run(tmp_path / "b", {few: {"GM": 0.6}, many: {"GM": 0.6, "WM": 0.7}}, name="b")
    (told,) = _unequal_scans(with_arms(collect(tmp_path).scores))
    assert "some scans show 1 structures, those of others 2" in told
    assert "a, 5 % 0.600, b, 5 % 0.650" in told
    write_run(tmp_path / "c", OWN, name="c")
    assert not list(_unequal_scans(with_arms(collect(tmp_path / "c").scores)))


def test_cases_show_the_views_of_their_cohort(runs: Path) -> None:
    found = collect(runs)
    by_name = {run.name: run for run in found.runs}
    cases = {(c.kind, c.arm.split(",")[0]): c for c in choose_cases(with_arms(found.scores))}
    worst = cases["worst", "both"]
    assert worst.scan == "fetal/sub-p1_ses-1"
    assert list(case_views(worst, by_name)) == [worst.arm]
    first = cases["worst", "alone"]
    assert first.scan == "phantom/sub-t2_ses-1"
    assert set(case_views(first, by_name)) == set(first.shown)
    assert len(first.shown) == 2


def test_one_cohort_keeps_the_plain_names(tmp_path: Path) -> None:
    write_run(tmp_path / "a", OWN)
    found = collect(tmp_path)
    assert set(found.scores["subject"]) == {"p1", "t2"}
    assert set(found.scores["cohort"]) == {"phantom"}
