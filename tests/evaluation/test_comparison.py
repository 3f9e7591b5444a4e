"""Means over draws of per-draw means, and what the report writes."""

from __future__ import annotations

import dataclasses
import re

import numpy as np
import pandas as pd
import pytest
import yaml

from neoseg.evaluation import (
    ClassScore,
    arm_table,
    report,
    score_frame,
    summarise_arms,
    write_scores,
)
from neoseg.evaluation.comparison import arm_name, dice_figure, latex

SCORE = ClassScore("Fluid", "CSF", True, 0.5, 1, 2, 1, 3, 3, False, False, 0.5, 4)
NAN = float("nan")


def run_frame(dice: dict[str, float], *, name="iuc", fraction=0.05, draw=0.0, seed=0.0, run="r"):
    """One scan per subject in `dice`; subjects that start with p are preterm."""
    parts = []
    for subject, value in dice.items():
        group = "preterm" if subject.startswith("p") else "term"
        rows = [
            dataclasses.replace(SCORE, dice=value, missed=value == 0),
            dataclasses.replace(SCORE, name="Parts & all", abbreviation="L_R", is_leaf=False),
        ]
        parts.append(
            score_frame(
                *(rows,), subject=subject, session="1", scan_age=35, age_group=group, hidden={"CSF"}
            )
        )
    frame = pd.concat(parts, ignore_index=True)
    return frame.assign(experiment=name, full_fraction=fraction, draw=draw, seed=seed, run=run)


def pick(summary: pd.DataFrame, **where) -> pd.Series:
    rows = summary[np.logical_and.reduce([summary[key] == value for key, value in where.items()])]
    assert len(rows) == 1
    return rows.iloc[0]


def test_std_is_over_draws_and_seeds_are_averaged_within(tmp_path) -> None:
    scores = pd.concat(
        [
            run_frame({"p1": 0.2, "p2": 0.4, "t1": 0.9}, draw=0, seed=0, run="a"),
            run_frame({"p1": 0.4, "p2": 0.6, "t1": 0.9}, draw=0, seed=1, run="b"),
            run_frame({"p1": 0.8, "p2": 0.0, "t1": 0.7}, draw=1, seed=0, run="c"),
        ]
    )
    summary = summarise_arms(scores)
    row = pick(summary, metric="dice", age_group="preterm", abbreviation="CSF")
    draws = [(0.3 + 0.5) / 2, 0.4]
    assert row["mean"] == pytest.approx(np.mean(draws))
    assert row["std"] == pytest.approx(np.std(draws, ddof=1))
    assert (row["draws"], row["scans"], row["misses"]) == (2, 2, 1)
    assert row["hidden"]
    everything = pick(summary, metric="dice", age_group="all", abbreviation="CSF")
    assert everything["mean"] == pytest.approx(np.mean([(0.5 + 1.9 / 3) / 2, 0.5]))
    assert not pick(summary, metric="hd", age_group="term", abbreviation="L_R")["hidden"]


def test_runs_without_a_draw_count_by_seed_and_keep_their_row() -> None:
    scores = pd.concat(
        [
            run_frame({"t1": v}, name="full", fraction=NAN, draw=NAN, seed=s, run=f"{s}")
            for s, v in enumerate((0.9, 0.7))
        ]
        + [run_frame({"t1": 0.5}, run="x")]
    )
    summary = summarise_arms(scores)
    row = pick(summary, metric="dice", age_group="term", abbreviation="CSF", arm="full")
    assert (row["mean"], row["draws"], row["scans"]) == (pytest.approx(0.8), 2, 1)
    assert row["std"] == pytest.approx(np.std([0.9, 0.7], ddof=1))
    table = arm_table(summary, "dice", "term").set_index("class")
    assert table.index.tolist() == ["CSF†", "L_R"]
    assert table.loc["CSF†"].to_dict() == {"full": "0.800 ± 0.141", "iuc, 5 %": "0.500"}


def test_not_applicable_scores_do_not_drag_the_mean() -> None:
    summary = summarise_arms(run_frame({"t1": NAN, "t2": 0.6}))
    row = pick(summary, metric="dice", age_group="term", abbreviation="CSF")
    assert row["mean"] == pytest.approx(0.6)


def test_scans_of_unknown_age_are_in_all_only() -> None:
    scores = run_frame({"p1": 0.2, "t1": 0.6})
    scores.loc[scores["subject"] == "t1", "age_group"] = "unknown"
    summary = summarise_arms(scores)
    assert set(summary["age_group"]) == {"preterm", "all"}
    row = pick(summary, metric="dice", age_group="all", abbreviation="CSF")
    assert row["mean"] == pytest.approx(0.4)


@pytest.mark.parametrize(
    ("fraction", "name"), [(0.02, "iuc, 2 %"), (0.125, "iuc, 12.5 %"), (NAN, "iuc")]
)
def test_arm_name(fraction, name) -> None:
    assert arm_name("iuc", fraction) == name


def test_latex_is_escaped() -> None:
    text = latex(pd.DataFrame({"class": ["L_R†"], "a, 5 %": ["0.1 ± 0.2"]}), "Dice & more")
    assert r"L\_R$\dagger$ & 0.1 $\pm$ 0.2 \\" in text
    assert r"class & a, 5 \% \\" in text
    assert r"\caption{Dice \& more}" in text
    assert text.count(r"\begin") == text.count(r"\end") == 2


def test_figure_has_a_bar_for_each_arm_class_and_age() -> None:
    scores = pd.concat(
        [
            run_frame({"p1": 0.4 + d / 10, "t1": 0.9}, name=name, draw=d, run=f"{name}{d}")
            for name in ("a", "b")
            for d in range(2)
        ]
    )
    figure = dice_figure(summarise_arms(scores))
    assert [axes.get_title(loc="left") for axes in figure.axes] == ["preterm scans", "term scans"]
    heights = [patch.get_height() for patch in figure.axes[0].patches]
    assert heights == pytest.approx([0.45, 0.45])
    assert [label.get_text() for label in figure.axes[1].get_xticklabels()] == ["CSF"]


def test_report_writes_everything_and_names_the_unfinished(tmp_path) -> None:
    for number, value in enumerate((0.6, 0.8)):
        folder = tmp_path / "runs" / str(number)
        folder.mkdir(parents=True)
        config = {"name": "iuc", "seed": 0, "annotation": {"full_fraction": 0.1, "draw": number}}
        (folder / "config.yaml").write_text(yaml.safe_dump(config))
        (folder / "run.json").write_text("{}")
        write_scores(folder / "scores.csv", run_frame({"p1": value, "t1": 0.5}))
    (tmp_path / "runs" / "stuck").mkdir()
    (tmp_path / "runs" / "stuck" / "config.yaml").write_text("name: x\n")
    page = report(tmp_path / "runs", tmp_path / "out")
    text = page.read_text(encoding="utf-8")
    assert "| CSF† | 0.700 ± 0.141 |" in text
    assert re.search(r"stuck`: no scores\.csv and no run\.json", text)
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert names == {"report.md", "scores.csv", "summary.csv", "tables.tex", "dice.png", "dice.pdf"}
    summary = pd.read_csv(tmp_path / "out" / "summary.csv")
    row = pick(summary, metric="dice", age_group="preterm", abbreviation="CSF")
    assert row["mean"] == pytest.approx(0.7)
    assert (tmp_path / "out" / "tables.tex").read_text(encoding="utf-8").count(r"\toprule") == 18
