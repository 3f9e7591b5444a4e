"""The report as a folder of files."""

from __future__ import annotations

import json
import shutil

import pandas as pd
import pytest
import yaml
from sweep import dice_of, write_run, write_sweep

from neoseg.evaluation.report.compare import ReportSettings
from neoseg.evaluation.report.page import is_page
from neoseg.evaluation.report.run_files import ReportError
from neoseg.evaluation.report.write import FIGURES as REMOVED
from neoseg.evaluation.report.write import _require_free, file_name, write_report

unpainted = pytest.mark.usefixtures("unpainted")

TEXTS = {"report.html", "report.md", "tables.md", "tables.tex"}
FRAMES = {"scores.csv", "summary.csv", "tests.csv", "runs.csv"}
FIGURES = {"dice", "hd95", "share", "age", "curves", "structures"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory):
    place = tmp_path_factory.mktemp("report")
    runs = write_sweep(place / "runs")
    before = {path: path.stat().st_mtime_ns for path in runs.rglob("*")}
    assert write_report(runs, place / "out") == place / "out" / "report.html"
    assert {path: path.stat().st_mtime_ns for path in runs.rglob("*")} == before
    return place


def test_everything_is_written(folder) -> None:
    names = {path.name for path in (folder / "out").iterdir()}
    figures = {f"{name}.{kind}" for name in FIGURES for kind in ("png", "pdf")}
    figures |= {"plate.png", "plate.pdf"}
    assert names == TEXTS | FRAMES | figures | {"cases", "cards"}
    assert len(list((folder / "out" / "cases").glob("*.png"))) == 6
    assert len(list((folder / "out" / "cards").glob("*/card.md"))) == 9


def test_tidy_tables(folder) -> None:
    out = folder / "out"
    summary, tests = pd.read_csv(out / "summary.csv"), pd.read_csv(out / "tests.csv")
    row = summary[
        (summary["arm"] == "iuc, 5 %")
        & (summary["metric"] == "dice")
        & (summary["age_group"] == "preterm")
        & (summary["abbreviation"] == "GM")
    ].iloc[0]
    assert row["mean"] == pytest.approx(0.68 + 0.01 - 0.1)
    assert row["std"] == pytest.approx(0.01)
    assert len(pd.read_csv(out / "scores.csv")) == 9 * 4 * 4
    pairs = set(zip(tests["first"], tests["second"], strict=True))
    assert len(pairs) == 3
    runs = pd.read_csv(out / "runs.csv")
    assert runs["left_out"].dropna().tolist() == ["no scores.csv and no run.json"]
    assert runs["dice"].notna().sum() == 9


def test_markdown_names_the_unfinished_and_has_the_papers_table(folder) -> None:
    text = (folder / "out" / "report.md").read_text(encoding="utf-8")
    assert "9 finished runs in 3 arms, scored on 4 scans of 3 subjects" in text
    assert "waiting: no scores.csv and no run.json" in text
    assert "| scans | structure | iuc, 5 % | supervised, 5 % | full, 100 % |" in text
    assert "| preterm | GM† | 0.590 ± 0.010 | 0.510 ± 0.010 | 0.670 ± 0.010 |" in text
    assert "3 test subjects say little" in text
    assert "| iuc, 5 % | 1 | 2 | 0 | 0 |" in text  # label budget
    assert "Some arms have fewer than three draws" not in text
    for part in ("(dice.png)", "(cases/01-worst-", "(cards/01-", "tables.md"):
        assert part in text
    for path in [line.split("](")[1][:-1] for line in text.splitlines() if line.startswith("![")]:
        assert (folder / "out" / path).is_file()


def test_latex_has_a_table_per_score(folder) -> None:
    text = (folder / "out" / "tables.tex").read_text(encoding="utf-8")
    assert text.count(r"\toprule") == text.count(r"\bottomrule") == 9
    assert r"\caption{Dice}" in text
    assert r"\multicolumn{2}{c}{5 \%}" in text


def test_older_runs_get_a_card_as_well(folder) -> None:
    paths = sorted((folder / "out" / "cards").glob("*/card.json"))
    cards = [json.loads(path.read_text(encoding="utf-8")) for path in paths]
    assert [card["run"] for card in cards] == [f"{p}-{d}" for p in range(3) for d in range(3)]
    assert cards[0]["data"]["fingerprint"] == "n/a"
    assert paths[0].parent.name == "01-supervised-5-draw-0"


def test_a_run_alone_is_reported(tmp_path) -> None:
    """No pair, no share, no curve and no view leave out what needs them, and nothing else."""
    run = write_run(tmp_path / "run", dice_of(0.5), fraction=None, draw=None, views=False)
    (run / "metrics.csv").unlink()
    write_report(run, tmp_path / "out", ReportSettings(reference="none of them"))
    text = (tmp_path / "out" / "report.md").read_text(encoding="utf-8")
    assert "No run has kept its test scans." in text
    assert "Comparison with" not in text
    assert not (tmp_path / "out" / "share.png").exists()
    assert not (tmp_path / "out" / "curves.png").exists()


def test_nothing_finished_is_an_error_that_writes_nothing(tmp_path) -> None:
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "config.yaml").write_text("name: a\n")
    with pytest.raises(ReportError, match="no finished run"):
        write_report(tmp_path / "runs", tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("iuc, 5 %", "iuc-5"),
        ("../../etc/passwd", "etc-passwd"),
        ("<b>\n", "b"),
        ("…", "unnamed"),
        ("a" * 100, "a" * 60),
    ],
)
def test_file_names_are_harmless(text: str, name: str) -> None:
    assert file_name(text) == name


@unpainted
def test_draws_that_are_one_training_are_told(tmp_path) -> None:
    for draw, dice in enumerate((0.6, 0.6, 0.7)):
        scans = dice_of(dice, ("t1-1", "t2-1"))
        write_run(tmp_path / str(draw), scans, name="iuc", draw=draw, views=False)
    write_report(tmp_path, tmp_path / "report")
    text = (tmp_path / "report" / "report.md").read_text()
    assert "2 runs of iuc, 5 % have the very same scores (0, 1)" in text.partition("## ")[0]


@unpainted
@pytest.mark.parametrize(
    ("record", "message"),
    [
        ({"energy_joules": [1]}, "energy_joules: Input should be a valid dictionary"),
        ({"energy_joules": {"processors": "x"}}, "energy_joules.processors: "),
        ({"versions": ["a"]}, "versions: "),
        ({"steps": {"a": [1]}}, "steps: "),
        ({"changes": [["a"]]}, "changes.0: "),
    ],
)
def test_a_record_of_other_types_costs_that_run_alone(tmp_path, record, message: str) -> None:
    write_run(tmp_path / "runs" / "good", dice_of(0.6), name="good", views=False)
    write_run(tmp_path / "runs" / "odd", dice_of(0.7), name="odd", views=False, record=record)
    write_report(tmp_path / "runs", tmp_path / "report")
    told = " ".join(map(str, pd.read_csv(tmp_path / "report" / "runs.csv")["left_out"]))
    assert message in told


def test_endless_names_and_steps_do_not_end_a_report(tmp_path) -> None:
    write_run(tmp_path / "runs" / "good", dice_of(0.6), name="good", views=False)
    write_run(tmp_path / "runs" / "long", dice_of(0.7), name="n" * 20000, views=False)
    curves = "step,train/loss,val/dice\n1e300,1e308,nan\n-1e300,-1e308,inf\n0,x,-inf\n"
    (tmp_path / "runs" / "good" / "metrics.csv").write_text(curves)
    write_report(tmp_path / "runs", tmp_path / "report")
    told = " ".join(map(str, pd.read_csv(tmp_path / "report" / "runs.csv")["left_out"]))
    assert "name has more than 200 letters" in told


@unpainted
def test_a_report_leaves_nothing_of_the_one_before(tmp_path) -> None:
    for name in ("a", "b"):
        write_run(tmp_path / "runs" / name, dice_of(0.6), name=name)
    write_report(tmp_path / "runs", tmp_path / "report")
    assert {path.stem for path in (tmp_path / "report").glob("*.png")} <= set(REMOVED)
    (of_b,) = (tmp_path / "report" / "cards").glob("02-*")
    (of_b / "mine.txt").write_text("kept")
    cases = {path.name for path in (tmp_path / "report" / "cases").iterdir()}
    shutil.rmtree(tmp_path / "runs" / "b")
    write_report(tmp_path / "runs", tmp_path / "report")
    left = {path.name for path in (tmp_path / "report" / "cases").iterdir()}
    assert any("-b-" in name for name in cases)
    assert not any("-b-" in name for name in left)
    assert [path.name for path in of_b.iterdir()] == ["mine.txt"]


@unpainted
def test_draws_that_are_one_training_but_for_rounding_count_once(tmp_path) -> None:
    """As of draws that chose the same people with the same seed, on a GPU."""
    scans = ("t1-1", "t2-1", "t3-1", "t4-1", "t5-1")
    for name, level in (("supervised", 0.6), ("iuc", 0.7)):
        for draw in range(3):
            run = tmp_path / "runs" / f"{name}_{draw}"
            write_run(run, dice_of(level + 1e-6 * draw, scans), name=name, draw=draw, views=False)
    write_report(tmp_path / "runs", tmp_path / "report")
    tests = pd.read_csv(tmp_path / "report" / "tests.csv")
    assert set(tests["compares"]) == {"methods"}
    for draw in (1, 2):
        first = (tmp_path / "runs" / "iuc_0" / "annotation.csv").read_text()
        (tmp_path / "runs" / f"iuc_{draw}" / "annotation.csv").write_text(first)
    write_report(tmp_path / "runs", tmp_path / "again")
    tests = pd.read_csv(tmp_path / "again" / "tests.csv")
    assert set(tests["compares"]) == {"networks"}
    text = (tmp_path / "again" / "report.md").read_text().partition("## ")[0]
    assert "3 runs (iuc_0, iuc_1, iuc_2) are one training" in text


@unpainted
@pytest.mark.parametrize(
    ("planned", "batches", "told"),
    [(True, (2, 9), True), (True, (2, 2), False), (False, (2, 9), False)],
)
def test_arms_that_planned_other_sizes_are_told(
    tmp_path, planned: bool, batches: tuple[int, int], told: bool
) -> None:
    for name, batch in zip(("a", "b"), batches, strict=True):
        level = {"a": 0.6, "b": 0.7}[name]
        run = write_run(tmp_path / name, dice_of(level, ("t1-1",)), name=name, views=False)
        config = yaml.safe_load((run / "config.yaml").read_text())
        config["patches"] = {"size": [32, 32, 32], "batch_size": batch, "steps_per_epoch": 100}
        config["trainer"] = {"max_epochs": 7}
        (run / "config.yaml").write_text(yaml.safe_dump(config))
        if planned:
            (run / "plan.yaml").write_text("patches: {}")
    write_report(tmp_path, tmp_path / "report")
    text = (tmp_path / "report" / "report.md").read_text()
    assert ("a, 5 %: 7 x 100 steps of 2 patches of 32x32x32" in text) == told
    assert ("b, 5 %: 7 x 100 steps of 9 patches of 32x32x32" in text) == told


@unpainted
@pytest.mark.parametrize(
    ("methods", "told"), [(("3", "3"), False), (("2", "3"), True), ((None, "3"), True)]
)
def test_runs_that_registered_otherwise_are_told(tmp_path, methods, told: bool) -> None:
    for draw, method in enumerate(methods):
        record = {"versions": {"registration": method} if method else {}}
        scans = dice_of(0.6 + draw / 10, ("t1-1",))
        run = write_run(tmp_path / f"{draw}", scans, draw=draw, views=False, record=record)
        config = yaml.safe_load((run / "config.yaml").read_text())
        (run / "config.yaml").write_text(yaml.safe_dump(config | {"recipe": {"teacher": "atlas"}}))
    write_run(tmp_path / "a", dice_of(0.6, ("t1-1",)), name="a", views=False)
    write_report(tmp_path, tmp_path / "report")
    text = (tmp_path / "report" / "report.md").read_text().partition("## ")[0]
    first = f"registration {methods[0] or 'not recorded'}: 0; 3: 1)"
    assert (first in text) == told
    assert ("register full scans in other ways" in text) == told


@unpainted
def test_a_run_that_was_copied_in_part_is_told(tmp_path) -> None:
    for name in ("a", "b"):
        write_run(tmp_path / name, dice_of(0.6, ("t1-1", "t2-1")), name=name, views=False)
    (tmp_path / "b" / "config.yaml").unlink()
    write_report(tmp_path, tmp_path / "report")
    text = (tmp_path / "report" / "report.md").read_text()
    assert "config.yaml" in text
    assert str(tmp_path / "b") in text


@unpainted
def test_runs_on_other_scans_are_told_before_any_number(tmp_path) -> None:
    write_run(tmp_path / "a", dice_of(0.6, ("t1-1", "t2-1")), name="iuc", views=False)
    write_run(tmp_path / "b", dice_of(0.7, ("t2-1", "t3-1")), name="focal", views=False)
    page = write_report(tmp_path, tmp_path / "report")
    text = (tmp_path / "report" / "report.md").read_text()
    told = "Runs were scored on different scans (focal, 5 %: 2, iuc, 5 %: 2; shared by all: 1)"
    assert told in text.partition("## ")[0]
    assert told in page.read_text()
    assert "different structures" not in text


def test_files_of_something_else_are_not_written_over(folder, tmp_path) -> None:
    (tmp_path / "scores.csv").write_text("mine")
    with pytest.raises(ReportError, match=r"has scores.csv of something else"):
        write_report(folder / "runs", tmp_path)
    assert (tmp_path / "scores.csv").read_text() == "mine"
    (tmp_path / "scores.csv").write_bytes((folder / "out" / "scores.csv").read_bytes())
    assert is_page(folder / "out" / "report.html")
    _require_free(tmp_path)  # what an interrupted one of earlier versions left
    (tmp_path / "scores.csv").write_text("mine")
    (tmp_path / "report.html").write_text("<title>mine</title>")
    with pytest.raises(ReportError, match=r"report.html of something else"):
        write_report(folder / "runs", tmp_path)
