"""Score tables of strangers, and cells that a spreadsheet, LaTeX or a terminal would obey."""

from __future__ import annotations

import csv
from collections.abc import Callable
from typing import Any

import pandas as pd
import pytest
from rich.console import Console
from sweep import dice_of, write_run

from neoseg.cohort.table import read_rows, write_rows
from neoseg.evaluation.overview import rich_table
from neoseg.evaluation.report import write
from neoseg.evaluation.report.collect import collect
from neoseg.evaluation.report.run_files import ReportError
from neoseg.evaluation.report.write import write_report
from neoseg.evaluation.table import read_scores, write_scores
from neoseg.findings.markup import cell, latex, latex_text, uncell, write_csv
from neoseg.findings.problems import Problems

Change = Callable[[pd.DataFrame], pd.DataFrame]


def first(**values: Any) -> Change:
    """Return what puts values into the first row."""

    def change(frame: pd.DataFrame) -> pd.DataFrame:
        frame = frame.astype(object)
        for name, value in values.items():
            frame.loc[0, name] = value
        return frame

    return change


SCORES: dict[str, Change | str] = {
    "nothing but a header": lambda frame: frame.iloc[:0],
    "no column": lambda frame: frame.drop(columns="dice"),
    "a row twice": lambda frame: pd.concat([frame, frame.iloc[:1]]),
    "an infinite score": first(hd95="inf"),
    "a score that overflows": first(hd95="1e999"),
    "a giant": first(scan_age="1e300"),
    "a text": first(dice="high"),
    "a formula as number": first(dice="=1+1"),
    "a path as id": first(subject="../../mark"),
    "an absolute path": first(session="/etc/passwd"),
    "a zero byte": first(subject="a\0b"),
    "a long name": first(**{"class": "x" * 10**5}),
    "many structures": lambda frame: frame.iloc[[0] * 1001].assign(
        abbreviation=[f"a{n}" for n in range(1001)]
    ),
    "no truth value": first(missed="maybe"),
    "an empty file": "",
    "a line of zeros": "\0" * 100,
    "another encoding": "s\udce9",
    "a quote that never ends": 'subject,session\n"a,b\n',
    "HTML": "<html><body>not found</body></html>",
}


@pytest.mark.parametrize("name", SCORES)
def test_a_broken_table_of_one_run_is_listed_and_the_others_reported(
    canary: Any, name: str
) -> None:
    runs = canary.folder / "runs"
    write_run(runs / "a", dice_of(0.6), views=False)
    path = write_run(runs / "b", dice_of(0.7), name="other", views=False) / "scores.csv"
    how = SCORES[name]
    if isinstance(how, str):
        path.write_bytes(how.encode("utf-8", "surrogateescape"))
    else:
        how(pd.read_csv(path, dtype=str, keep_default_na=False)).to_csv(path, index=False)
    found = canary.harmless(lambda: collect(runs))
    assert [run.name for run in found.runs] == ["a"]
    (left,) = found.unfinished
    assert "scores.csv" in left.reason


@pytest.mark.parametrize("column", ["run", "arm", "experiment", "draw"])
def test_columns_that_no_run_writes_are_left_out(canary: Any, column: str) -> None:
    run = write_run(canary.folder / "runs" / "a", dice_of(0.6), views=False)
    frame = pd.read_csv(run / "scores.csv", dtype=str, keep_default_na=False)
    frame.assign(**{column: "=x"}).to_csv(run / "scores.csv", index=False)
    found = canary.harmless(lambda: collect(canary.folder / "runs"))
    assert found.scores["run"].unique().tolist() == ["a"]
    assert "=x" not in found.scores.to_csv()


def test_runs_that_contradict_each_other_are_reported(canary: Any) -> None:
    """Of one scan another age, of one structure another name, of one class another kind."""
    runs = canary.folder / "runs"
    write_run(runs / "a", dice_of(0.6), views=False)
    other = write_run(runs / "b", dice_of(0.7), name="other", views=False) / "scores.csv"
    frame = read_scores(other)
    frame["scan_age"] += 1.5
    frame["age_group"] = "term"
    frame["class"] = frame["class"] + " of another table"
    frame["is_leaf"] = ~frame["is_leaf"]
    write_scores(other, frame)
    same = write_run(runs / "c", dice_of(0.7), views=False, draw=1) / "scores.csv"
    write_scores(same, frame)
    page = write_report(runs, canary.folder / "out")
    assert page.is_file()
    canary.sings()


FORMULAS = (
    *("=1+1", "+1+1", "-1+1", "@SUM(A1)", "\t=1+1", "\r=1+1", '=HYPERLINK("http://x")'),
    *("'=1+1", "''=1", "=cmd|' /C calc'!A0", "-2+3+cmd|x", "+A1", "-A1", "@x"),
)


@pytest.mark.parametrize("text", FORMULAS)
def test_a_cell_is_text_to_a_spreadsheet_and_comes_back(canary: Any, text: str) -> None:
    assert cell(text).startswith("'")
    kept = text.replace("\r", " ")
    assert uncell(cell(text)) == kept
    path = canary.folder / "x.csv"
    write_csv(path, pd.DataFrame({"a": [text, "b"], text: [-1.5, 2]}))
    with path.open(newline="") as handle:
        cells = [value for row in csv.reader(handle) for value in row]
    assert not [value for value in cells if value[:1] in tuple("=+@\t\r")]
    assert "-1.5" in cells
    write_rows(path, ["a"], [[text]])
    assert read_rows(path, ["a"], Problems()) == [{"a": kept}]


@pytest.mark.parametrize("text", ["-5", "+3.25", "1e-3", "-999", ".5", "sub-01", "a=b", ""])
def test_numbers_and_names_stay_as_they_are(text: str) -> None:
    assert cell(text) == text
    assert cell(-5) == -5


def test_formulas_of_a_run_are_text_in_the_report(
    canary: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(write, "_write_figures", lambda *_: {})  # seconds, and no table
    run = write_run(canary.folder / "runs" / "a", dice_of(0.6), name="=1+1", views=False)
    frame = read_scores(run / "scores.csv")
    frame["subject"] = [f"={text}" for text in frame["subject"]]
    frame["class"] = [f"@{text}" for text in frame["class"]]
    frame["abbreviation"] = [f"+{text}" for text in frame["abbreviation"]]
    write_scores(run / "scores.csv", frame)
    pd.testing.assert_frame_equal(read_scores(run / "scores.csv"), frame)
    write_report(canary.folder / "runs", canary.folder / "out")
    for path in (run / "scores.csv", *(canary.folder / "out").rglob("*.csv")):
        with path.open(newline="") as handle:
            for row in csv.reader(handle):
                assert not [text for text in row if text[:1] in ("=", "@", "+")], path


def test_latex_is_text(canary: Any) -> None:
    for text in ("\\input{secret}", "\\write18{x}", "a\n\nb", "[x]", "^^5cinput", "\x07", "100%"):
        told = latex_text(text)
        assert "\\input" not in told
        assert "\\write" not in told
        assert not set(told) & set("\n\x07")
        assert "^^" not in told
    lines = latex(pd.DataFrame({"a": ["[1ex] x", "y"]}), "c").splitlines()
    assert not [line for line in lines if line.startswith("[")]


def test_a_terminal_obeys_no_name(canary: Any) -> None:
    run = write_run(canary.folder / "runs" / "a", dice_of(0.6), views=False)
    frame = read_scores(run / "scores.csv")
    frame["abbreviation"] = [f"[/red]{text}[link=x]" for text in frame["abbreviation"]]
    console = Console(record=True, width=200)
    console.print(rich_table(frame, "[/b] title"))
    assert "[/red]CSF[link=x]" in console.export_text()
    with pytest.raises(ReportError) as caught:
        collect(canary.folder / "\x1b]0;owned\x07")
    assert "\x1b" not in str(caught.value)
    assert "\\x1b]0;owned" in str(caught.value)
