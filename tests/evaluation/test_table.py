"""The score table: what is written comes back, and the summaries count rightly."""

from __future__ import annotations

import dataclasses
import io

import numpy as np
import pandas as pd
import pytest
from rich.console import Console

from neoseg.evaluation.overview import overview, rich_table
from neoseg.evaluation.scores import ClassScore
from neoseg.evaluation.table import read_scores, score_frame, summarise, write_scores

NAN = float("nan")
BASE = ClassScore("Fluid", "CSF", True, 0.1 + 0.2, 1.5, 3.0, 0.5, 12.0, 11.0, False, False, 0.4, 6)
MISSED = dataclasses.replace(BASE, dice=0.0, hd95=99.0, prediction_ml=0.0, missed=True)
ABSENT = dataclasses.replace(BASE, name="Both, parts", abbreviation="LR", dice=NAN, hd95=NAN)


@pytest.fixture
def frame() -> pd.DataFrame:
    common = {"hidden": {"LR"}}
    return pd.concat(
        [
            score_frame(
                [BASE, ABSENT],
                **common | {"subject": "007", "session": "01", "scan_age": 33.25},
                age_group="preterm",
            ),
            score_frame(
                [MISSED, dataclasses.replace(ABSENT, dice=0.5)],
                **common | {"subject": "NA", "session": None, "scan_age": None},
                age_group="term",
            ),
        ],
        ignore_index=True,
    )


def test_round_trip_is_exact(tmp_path, frame) -> None:
    path = tmp_path / "new" / "scores.csv"
    write_scores(path, frame)
    pd.testing.assert_frame_equal(read_scores(path), frame)
    assert frame["subject"].tolist() == ["007", "007", "NA", "NA"]
    assert frame["session"].tolist() == ["01", "01", "", ""]
    assert [p.name for p in path.parent.iterdir()] == ["scores.csv"]


def test_the_cohort_is_text_and_may_be_missing(tmp_path, frame) -> None:
    path = tmp_path / "scores.csv"
    write_scores(path, frame.assign(cohort=["007", "007", "b", "b"]))
    assert read_scores(path)["cohort"].tolist() == ["007", "007", "b", "b"]
    frame.drop(columns="cohort").to_csv(path, index=False)
    pd.testing.assert_frame_equal(read_scores(path), frame)


def test_failed_write_leaves_the_old_file(tmp_path, frame) -> None:
    path = tmp_path / "scores.csv"
    write_scores(path, frame)
    before = path.read_bytes()
    with pytest.raises(KeyError):
        write_scores(path, frame.drop(columns="dice"))
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["scores.csv"]


def test_other_tables_are_refused_by_name(tmp_path, frame) -> None:
    path = tmp_path / "x.csv"
    frame.drop(columns="assd").to_csv(path, index=False)
    with pytest.raises(ValueError, match=r"x\.csv has no column assd"):
        read_scores(path)
    frame.assign(missed="maybe").to_csv(path, index=False)
    with pytest.raises(ValueError, match="column missed: found 'maybe'"):
        read_scores(path)
    frame.assign(dice="good").to_csv(path, index=False)
    with pytest.raises(ValueError, match=r"x\.csv holds text where a number"):
        read_scores(path)


def test_summary_leaves_out_what_does_not_apply_and_counts_misses(frame) -> None:
    table = summarise(frame).set_index("abbreviation")
    assert table.index.tolist() == ["CSF", "LR"]
    assert table.loc["CSF", "dice_mean"] == pytest.approx(0.15)
    assert table.loc["CSF", "dice_std"] == pytest.approx(np.std([0.3, 0], ddof=1))
    assert table.loc["CSF", "dice_median"] == pytest.approx(0.15)
    assert table.loc["CSF", ["dice_n", "misses", "inventions"]].tolist() == [2, 1, 0]
    assert table.loc["LR", ["dice_n", "hd95_n", "misses"]].tolist() == [1, 0, 0]
    assert table.loc["LR", "dice_mean"] == 0.5


def test_overview_has_ages_apart_and_marks_hidden_classes(frame) -> None:
    table = overview(frame).set_index("class")
    assert table.index.tolist() == ["CSF", "LR†"]
    assert table.loc["CSF", "Dice all"] == "0.150 ± 0.212"
    assert table.loc["CSF", "Dice preterm"] == "0.300"
    assert table.loc["CSF", "HD95 mm term"] == "99.00"
    assert table.loc["CSF", "missed all"] == "1/2"
    assert table.loc["LR†", "Dice preterm"] == "–"
    assert "Dice term" not in overview(frame[frame["age_group"] == "preterm"])
    assert "invented all" not in table
    csf = frame["abbreviation"] == "CSF"
    truth = frame["truth_ml"].where(~csf, 0.0)
    more = overview(frame.assign(invented=csf, missed=False, truth_ml=truth)).set_index("class")
    assert more.loc["CSF", "invented all"] == "2/2"
    assert more.loc["LR†", "invented all"] == "0/0"


def test_misses_count_among_the_scans_that_have_the_structure() -> None:
    """A lesion that most scans lack: 1 of 2 missed, 1 of 3 invented, Dice of 3 scans."""
    volumes = (
        (12.0, 11.0, 0.8),
        (12.0, 0.0, 0.0),
        (0.0, 3.0, 0.0),
        (0.0, 0.0, NAN),
        (0.0, 0.0, NAN),
    )
    frames = []
    for number, (truth, found, dice) in enumerate(volumes):
        score = dataclasses.replace(
            BASE,
            dice=dice,
            truth_ml=truth,
            prediction_ml=found,
            missed=truth > 0 == found,
            invented=found > 0 == truth,
        )
        scan = {"subject": str(number), "session": None, "scan_age": None, "age_group": "unknown"}
        frames.append(score_frame([score], hidden=set(), **scan))
    scores = pd.concat(frames, ignore_index=True)
    (row,) = overview(scores).to_dict("records")
    assert (row["missed all"], row["invented all"]) == ("1/2", "1/3")
    (summary,) = summarise(scores).to_dict("records")
    assert (summary["present"], summary["absent"], summary["dice_n"]) == (2, 3, 3)


def test_rich_table_prints_every_class(frame) -> None:
    console = Console(file=io.StringIO(), width=80)
    console.print(rich_table(frame, title="Run 3"))
    text = console.file.getvalue()
    for part in ("Run 3: all", "Run 3: preterm (1 scan)", "CSF", "LR†", "0.150 ± 0.212", "HD95 mm"):
        assert part in text
    assert "mean ± std over scans; † hidden" in text
    one = rich_table(frame[frame["age_group"] == "preterm"].assign(hidden=False))
    assert [t.title for t in one.renderables] == ["Scores: all (1 scan)"]  # all of them are preterm
    assert one.renderables[-1].caption == ""


@pytest.mark.parametrize("width", [60, 80, 200])
@pytest.mark.parametrize("longest", [6, 20, 60])
def test_rich_table_loses_no_digit_where_it_is_wide(frame, width: int, longest: int) -> None:
    names = {name: f"{name}_{'x' * longest}"[:longest] for name in frame["abbreviation"].unique()}
    renamed = frame["abbreviation"].map(names)
    scores = frame.assign(abbreviation=renamed, invented=True, hd95=frame["dice"] + 300, hd=299.5)
    console = Console(file=io.StringIO(), width=width)
    console.print(rich_table(scores, width=width))
    text = console.file.getvalue()
    assert "…" not in text
    assert max(map(len, text.splitlines())) <= width
    for digits in ("0.150 ± 0.212", "300.15 ± 0.21", "invented"):
        assert digits in text
    assert ("299.50 ± 0.00" in text) == (width == 200 or (width, longest) == (80, 6))


def test_older_tables_are_read_and_completed(tmp_path, frame) -> None:
    """Those of the first version have neither surface Dice nor volume errors."""
    path = tmp_path / "old.csv"
    later = ["nsd", "nsd_tolerance", "known", "violation", "ece", "volume_error", "volume_error_ml"]
    frame.drop(columns=later).to_csv(path, index=False)
    found = read_scores(path)
    assert found.columns.tolist() == frame.columns.tolist()
    assert found[["nsd", "violation", "ece"]].isna().all(axis=None)
    assert found["known"].tolist() == [1] * 4
    for name in ("volume_error", "volume_error_ml"):
        assert found[name].to_numpy() == pytest.approx(frame[name].to_numpy(), nan_ok=True)
    assert found["volume_error"].tolist()[0] == pytest.approx(11 / 12 - 1)


def test_other_columns_stay_behind_the_known_ones(tmp_path, frame) -> None:
    path = tmp_path / "more.csv"
    frame.assign(site="x").to_csv(path, index=False)
    assert read_scores(path).columns.tolist() == [*frame.columns, "site"]


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        ("dice", "1.7", "found 1.7, expected 0 to 1"),
        ("dice", "-0.2", "found -0.2"),
        ("hd95", "-3", "found -3, expected 0 to 1e"),
        ("known", "7", "found 7"),
        ("age_group", "teen", "found 'teen'"),
        ("subject", "", "an id is empty"),
    ],
)
def test_values_that_no_score_has_are_refused(
    tmp_path, frame, column: str, value: str, message: str
) -> None:
    path = tmp_path / "scores.csv"
    write_scores(path, frame)
    table = pd.read_csv(path, dtype=str, keep_default_na=False)
    table.loc[0, column] = value
    table.to_csv(path, index=False)
    with pytest.raises(ValueError, match=f"column {column}: {message}"):
        read_scores(path)
