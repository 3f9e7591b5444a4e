"""Finding runs and joining their scores."""

from __future__ import annotations

import math
from dataclasses import replace

import pandas as pd
import pytest
import yaml

from neoseg.evaluation.report.cautions import cautions
from neoseg.evaluation.report.collect import collect, find_runs
from neoseg.evaluation.report.compare import ReportSettings, compare
from neoseg.evaluation.report.run_files import ReportError
from neoseg.evaluation.scores import ClassScore
from neoseg.evaluation.table import score_frame, write_scores
from neoseg.failure import note_failure

SCORE = ClassScore("Fluid", "CSF", True, 0.5, 1, 2, 1, 3, 3, False, False, 0.5, 4)


def make_run(folder, finished=True, **config) -> None:
    folder.mkdir(parents=True)
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    (folder / ".hydra").mkdir()
    (folder / ".hydra" / "config.yaml").write_text("name: not a run\n")
    if finished:
        (folder / "run.json").write_text("{}")
        row = score_frame([SCORE], subject="01", session="2", scan_age=40, age_group="term")
        write_scores(folder / "scores.csv", row)


def keys(fraction=0.05, draw=1, seed=3, name="iuc") -> dict:
    return {"name": name, "seed": seed, "annotation": {"full_fraction": fraction, "draw": draw}}


def test_columns_come_from_the_configuration(tmp_path) -> None:
    make_run(tmp_path / "sweep" / "0", **keys())
    make_run(tmp_path / "sweep" / "1", **keys(name="full", fraction=None, draw=None))
    make_run(tmp_path / "2", **keys() | {"annotation": {"draw": "${seed}", "full_fraction": 0.1}})
    scores = collect(tmp_path).scores.set_index("run")
    assert scores.loc["sweep/0", ["experiment", "full_fraction", "draw", "seed"]].tolist() == [
        *("iuc", 0.05, 1, 3)
    ]
    assert scores.loc["2", "draw"] == 3
    assert math.isnan(scores.loc["sweep/1", "draw"])
    assert scores["subject"].tolist() == ["01"] * 3


def test_runs_come_with_their_folder_and_record(tmp_path) -> None:
    make_run(tmp_path / "sweep" / "0", **keys())
    (tmp_path / "sweep" / "0" / "run.json").write_text('{"steps": 3}')
    (run,) = collect(tmp_path).runs
    assert (run.name, run.path) == ("sweep/0", tmp_path / "sweep" / "0")
    assert run.record == {"steps": 3}
    (alone,) = collect(tmp_path / "sweep" / "0").runs
    assert alone.name == "0"


def make_fold(folder, people: str, fold: int, name: str, dice: float, draw: int = 0) -> None:
    split = {"split": {"file": f"fold{fold}.csv", "seed": 0}}
    make_run(folder, **keys(name=name, draw=draw, seed=0), **split)
    score = replace(SCORE, dice=dice)
    rows = [
        score_frame([score], subject=p, session=None, scan_age=40, age_group="term") for p in people
    ]
    write_scores(folder / "scores.csv", pd.concat(rows, ignore_index=True))


def test_folds_of_a_cross_validation_are_one_arm(tmp_path) -> None:
    for name, gain in {"iuc": 0.0, "focal": 0.1}.items():
        for fold, people in enumerate(("ab", "cd", "e")):
            make_fold(tmp_path / name / f"{fold}", people, fold, name, 0.5 + gain + fold / 100)
    collected = collect(tmp_path)
    assert set(collected.scores["experiment"]) == {"iuc", "focal"}
    comparison = compare(tmp_path, ReportSettings(reference="iuc"))
    summary = comparison.summary.query("metric == 'dice' and age_group == 'all'")
    summary = summary[summary["abbreviation"] == "CSF"].set_index("experiment")
    assert summary["subjects"].tolist() == [5, 5]
    assert not [text for text in cautions(comparison) if "different scans" in text]
    tests = comparison.tests
    (row,) = tests.query(
        "metric == 'dice' and age_group == 'all' and abbreviation == 'CSF'"
    ).itertuples()
    assert abs(row.difference) == pytest.approx(0.1)
    assert row.subjects == 5


def test_folds_of_one_experiment_do_not_depend_on_another(tmp_path) -> None:
    for fold, people in enumerate(("ab", "cd")):
        make_fold(tmp_path / "iuc" / f"{fold}", people, fold, "iuc", 0.5)
    make_fold(tmp_path / "focal", "bc", 7, "focal", 0.5)
    assert set(collect(tmp_path).scores["experiment"]) == {"iuc", "focal"}


def test_seeds_that_were_scored_on_other_scans_are_told(tmp_path) -> None:
    for seed, people in enumerate(("abc", "ab")):
        make_fold(tmp_path / f"{seed}", people, 0, "iuc", 0.5 + seed / 10)
        config = yaml.safe_load((tmp_path / f"{seed}" / "config.yaml").read_text())
        (tmp_path / f"{seed}" / "config.yaml").write_text(yaml.safe_dump(config | {"seed": seed}))
    told = cautions(compare(tmp_path, ReportSettings()))
    assert [text for text in told if "Runs were scored on different scans" in text]


def test_folds_of_named_people_have_one_share_of_full_labels(tmp_path) -> None:
    """Of four people in full, each fold tests others, so that the shares of training differ."""
    for fold, (people, full) in enumerate({"ab": "cdef", "cdef": "ab"}.items()):
        folder = tmp_path / f"{fold}"
        make_fold(folder, people, fold, "iuc", 0.5)
        config = yaml.safe_load((folder / "config.yaml").read_text())
        config["annotation"]["full"] = ["a", "c"]
        config["cohort"] = {"name": "", "root": f"table{fold}.csv"}
        (folder / "config.yaml").write_text(yaml.safe_dump(config))
        rows = [f"{person},train,{'full' if person in 'ac' else 'partial'}" for person in full]
        for name in ("split.csv", "annotation.csv"):
            (folder / name).write_text("\n".join(["subject,split,stream", *rows]) + "\n")
    scores = collect(tmp_path).scores
    assert set(scores["experiment"]) == {"iuc"}
    assert set(scores["full_fraction"]) == {0.375}  # the mean of 1 in 4 and 1 in 2


def test_splits_that_test_one_person_twice_are_no_folds(tmp_path) -> None:
    for fold, people in enumerate(("ab", "bc")):
        make_fold(tmp_path / f"{fold}", people, fold, "iuc", 0.5)
    named = set(collect(tmp_path).scores["experiment"])
    assert named == {"iuc, file fold0.csv", "iuc, file fold1.csv"}
    make_fold(tmp_path / "2", "bc", 1, "iuc", 0.5)
    with pytest.raises(ReportError, match="equal configuration, draw and seed"):
        collect(tmp_path)


def test_hydra_folders_are_not_runs(tmp_path) -> None:
    make_run(tmp_path / "a", **keys())
    assert find_runs(tmp_path) == [tmp_path / "a"]
    assert find_runs(tmp_path / "a") == [tmp_path / "a"]


def test_links_to_runs_are_runs(tmp_path) -> None:
    make_run(tmp_path / "chosen" / "0", **keys())
    make_run(tmp_path / "elsewhere" / "1", **keys(seed=4))
    (tmp_path / "chosen" / "1").symlink_to(tmp_path / "elsewhere" / "1")
    (tmp_path / "chosen" / "latest").symlink_to("0")
    assert [run.name for run in collect(tmp_path / "chosen").runs] == ["0", "1"]


def test_unfinished_runs_are_named_with_their_reason(tmp_path) -> None:
    make_run(tmp_path / "good", **keys())
    make_run(tmp_path / "running", finished=False, **keys())
    make_run(tmp_path / "nameless", **keys(name=None))
    make_run(tmp_path / "odd", **keys(draw="first"))
    make_run(tmp_path / "broken", **keys())
    (tmp_path / "broken" / "config.yaml").write_text("a: [")
    make_run(tmp_path / "cut", **keys())
    (tmp_path / "cut" / "scores.csv").write_text("subject,session\n")
    make_run(tmp_path / "empty", **keys())
    (tmp_path / "empty" / "scores.csv").write_text("")
    make_run(tmp_path / "half", **keys())
    (tmp_path / "half" / "run.json").write_text('{"steps": ')
    make_run(tmp_path / "unscored", **keys())
    (tmp_path / "unscored" / "scores.csv").unlink()
    found = collect(tmp_path)
    assert set(found.scores["run"]) == {"good"}
    reasons = {run.path.name: run.reason for run in found.unfinished}
    assert set(reasons) == {
        "running",
        "nameless",
        "odd",
        "broken",
        "cut",
        "empty",
        "half",
        "unscored",
    }
    assert reasons["running"] == "no scores.csv and no run.json"
    assert reasons["unscored"].startswith("no scores: trained with score=false")
    assert "'name'" in reasons["nameless"]
    assert "draw is 'first'" in reasons["odd"]
    assert "no column scan_age" in reasons["cut"]
    assert "run.json cannot be read" in reasons["half"]


def test_nothing_to_report_says_why(tmp_path) -> None:
    with pytest.raises(ReportError, match="has no run"):
        collect(tmp_path)
    with pytest.raises(ReportError, match="is not a folder"):
        collect(tmp_path / "nowhere")
    make_run(tmp_path / "running", finished=False, **keys())
    with pytest.raises(ReportError, match=r"no finished run:\n.*running: no scores\.csv"):
        collect(tmp_path)


def test_runs_that_cannot_be_told_apart_stop_the_report(tmp_path) -> None:
    """One of two would count as a draw of its own, or the two as one draw."""
    make_run(tmp_path / "a", **keys())
    make_run(tmp_path / "b", **keys())
    make_run(tmp_path / "c", **keys(seed=4))
    with pytest.raises(ReportError, match=r"(?s)a and b\nTake .* seed="):
        collect(tmp_path)


def test_an_arm_is_what_differs_beside_draw_and_seed(tmp_path) -> None:
    for number, (draw, lr, loss) in enumerate(
        [
            (0, 0.1, {"iuc": {}}),
            (1, 0.1, {"iuc": {}}),
            (0, 0.1, {"focal": {}}),
            (0, 0.2, {"iuc": {}}),
        ]
    ):
        config = keys(draw=draw) | {"optimizer": {"lr": lr}, "loss": loss, "pictures": number}
        make_run(tmp_path / str(number), **config)
    make_run(tmp_path / "4", **keys(name="alone"), loss={"huc": {}})
    found = collect(tmp_path, ignore=["pictures"]).scores
    assert found["experiment"].tolist() == [
        *(["iuc, loss iuc, lr 0.1"] * 2),
        *("iuc, loss focal, lr 0.1", "iuc, loss iuc, lr 0.2", "alone"),
    ]


def test_only_the_runs_that_are_asked_for(tmp_path, caplog) -> None:
    make_run(tmp_path / "a", **keys(name="iuc"))
    make_run(tmp_path / "b", **keys(name="huc"))
    make_run(tmp_path / "c", **keys(name="huc", fraction=0.1))
    make_run(tmp_path / "d", finished=False, **keys(name="huc"))
    make_run(tmp_path / "e", finished=False, **keys(name="iuc"))
    found = collect(tmp_path, experiments=["huc"])
    assert [run.name for run in found.runs] == ["b", "c"]
    assert [run.path.name for run in found.unfinished] == ["d"]
    assert [run.name for run in collect(tmp_path, ["huc"], [0.1]).runs] == ["c"]
    assert [run.name for run in collect(tmp_path, fractions=[0.05]).runs] == ["a", "b"]


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"experiments": ["hux"]}, "has experiment hux; there are huc, iuc"),
        ({"fractions": [0.2]}, r"has full_fraction 0.2; there are 0.05, 0.1"),
    ],
)
def test_asking_for_what_no_run_has(tmp_path, asked, said) -> None:
    make_run(tmp_path / "a", **keys(name="iuc"))
    make_run(tmp_path / "b", **keys(name="huc", fraction=0.1))
    with pytest.raises(ReportError, match=said):
        collect(tmp_path, **asked)


def test_a_failed_run_is_named_with_its_reason(tmp_path) -> None:
    make_run(tmp_path / "good", **keys())
    make_run(tmp_path / "late", finished=False, **keys(draw=2))
    (tmp_path / "early").mkdir()
    note_failure(tmp_path / "late", "RuntimeError: out of memory\nmore")
    note_failure(tmp_path / "early", "ConfigError: no such class")
    reasons = {run.path.name: run.reason for run in collect(tmp_path).unfinished}
    assert reasons == {
        "late": "failed: RuntimeError: out of memory",
        "early": "failed: ConfigError: no such class",
    }


def test_scores_that_are_not_those_of_the_run_are_left_out(tmp_path) -> None:
    """A table that was cut off at the end of a line looks whole."""
    for name in ("whole", "cut", "changed"):
        make_run(tmp_path / name, **keys(seed=len(name)))
        path = tmp_path / name / "scores.csv"
        head, row = path.read_text().splitlines()
        path.write_text("\n".join([head, row, row.replace("CSF", "GM"), ""]))
        (tmp_path / name / "run.json").write_text('{"test_dice": 0.5, "score_rows": 2}')
    lines = (tmp_path / "cut" / "scores.csv").read_text().splitlines(keepends=True)
    (tmp_path / "cut" / "scores.csv").write_text("".join(lines[:-1]))
    (tmp_path / "changed" / "run.json").write_text('{"test_dice": 0.7}')
    found = collect(tmp_path)
    assert [run.name for run in found.runs] == ["whole"]
    reasons = [left.reason for left in found.unfinished]
    assert "scores.csv has a mean Dice of 0.5000, and run.json tells 0.7000" in reasons[0]
    assert "scores.csv has 1 rows, and run.json tells 2" in reasons[1]
