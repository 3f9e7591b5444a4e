"""The paper's tables: rows, columns, cells and what marks them."""

from __future__ import annotations

import pandas as pd
import pytest
from sweep import NAN, dice_of, frame_of

from neoseg.evaluation.report.arms import MEAN_OF_HIDDEN, MEAN_OF_LEAVES, summarise_arms, with_arms
from neoseg.evaluation.report.contrasts import EXPLORATORY, WITH_REFERENCE, compare_arms
from neoseg.evaluation.report.layout import (
    by_arm,
    by_share,
    comparison_table,
    headline_classes,
    interval,
    p_value,
    significant,
)


@pytest.fixture
def frame() -> pd.DataFrame:
    arms = [("sup", 0.02), ("sup", 0.05), ("iuc", 0.02), ("iuc", 0.05), ("sup", 1.0)]
    parts = [
        frame_of(dice_of(0.5 + 0.05 * n + 0.1 * d), name=e, fraction=f, draw=d, run=f"{n}{d}")
        for n, (e, f) in enumerate(arms)
        for d in range(2)
    ]
    return with_arms(pd.concat(parts))


@pytest.fixture
def summary(frame) -> pd.DataFrame:
    return summarise_arms(frame)


def test_main_table_has_shares_side_by_side(summary) -> None:
    table = by_share(summary, "dice", ["GM", MEAN_OF_HIDDEN])
    assert table.columns.tolist() == [
        *(("", "scans"), ("", "structure"), ("2 %", "iuc"), ("2 %", "sup")),
        *(("5 %", "iuc"), ("5 %", "sup"), ("100 %", "sup")),
    ]
    assert table[("", "scans")].tolist() == ["preterm", "", "term", "", "all", ""]
    assert table[("", "structure")].tolist()[:2] == ["GM†", MEAN_OF_HIDDEN]
    # iuc at 2 % has level 0.6 and 0.7; the first scan's GM is 0.1 below.
    assert table[("2 %", "iuc")][0] == "0.550 ± 0.071"


def test_missing_arms_are_a_dash(summary) -> None:
    part = summary[~((summary["arm"] == "iuc, 2 %") & (summary["age_group"] == "term"))]
    table = by_share(part, "dice", ["GM"])
    assert table[("2 %", "iuc")].tolist()[1] == "–"


def test_better_cells_have_an_asterisk(summary) -> None:
    table = by_share(summary, "dice", ["GM"], {("iuc, 2 %", "term", "GM")})
    assert [cell.endswith("*") for cell in table[("2 %", "iuc")]] == [False, True, False]


def test_loss_table_joins_the_classes_of_a_cell(summary) -> None:
    table = by_arm(summary, ["GM", "WM"]).set_index(("", "experiment"))
    assert table.columns.tolist() == [
        (share, group) for share in ("2 %", "5 %", "100 %") for group in ("preterm", "term")
    ]
    assert table.loc["iuc", ("2 %", "preterm")] == "0.550/0.450"
    assert table.loc["iuc", ("100 %", "term")] == "–"


def test_headlines_are_the_hidden_classes_and_the_means(summary) -> None:
    assert headline_classes(summary) == ["GM", "WM", MEAN_OF_HIDDEN, MEAN_OF_LEAVES]
    plain = summarise_arms(with_arms(frame_of(dice_of(0.5), hidden=())))
    assert headline_classes(plain) == ["CSF", "GM", "WM", "TCV", MEAN_OF_LEAVES]


@pytest.mark.parametrize(("metric", "sign"), [("dice", 1), ("hd95", -1)])
def test_significant_cells_beat_the_reference(metric, sign) -> None:
    row = {"metric": metric, "age_group": "all", "abbreviation": "GM", "holm": 0.01}
    row |= {"family": WITH_REFERENCE, "compares": "methods", "second": "sup, 5 %"}
    rows = [
        row | {"first": "iuc, 5 %", "difference": 0.1 * sign},
        row | {"first": "worse, 5 %", "difference": -0.1 * sign},
        row | {"first": "weak, 5 %", "difference": 0.1 * sign, "holm": 0.2},
        row | {"first": "once, 5 %", "difference": 0.1 * sign, "compares": "networks"},
        row | {"first": "else, 5 %", "difference": 0.1 * sign, "family": EXPLORATORY},
    ]
    assert significant(pd.DataFrame(rows), metric) == {("iuc, 5 %", "all", "GM")}


def test_comparison_table(frame) -> None:
    tests = compare_arms(frame)
    table = comparison_table(tests[tests["age_group"] == "all"], ["GM"])
    row = table[(table["first"] == "iuc, 2 %") & (table["second"] == "sup, 2 %")].iloc[0]
    assert row["difference"] == "+0.100"
    assert row["interval"] == "0.100 to 0.100"
    assert row["compares"] == "networks"
    assert row["permutation (smallest)"] == ".250 (.250)"
    assert row["subjects"] == "3"


@pytest.mark.parametrize(
    ("p", "text"), [(0.0321, ".032"), (0.0004, "< .001"), (1.0, "1.000"), (NAN, "–")]
)
def test_p_value(p, text) -> None:
    assert p_value(p) == text


def test_interval() -> None:
    assert interval(0.123, 0.456, 2) == "0.12 to 0.46"
    assert interval(NAN, NAN, 2) == "–"
