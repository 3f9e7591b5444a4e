"""What arms reach: means over draws of per-draw means, spreads, intervals and counts."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from sweep import NAN, frame_of

from neoseg.evaluation.report.arms import (
    MEAN_OF_HIDDEN,
    MEAN_OF_LEAVES,
    arm_name,
    scan_means,
    summarise_arms,
    with_arms,
)
from neoseg.evaluation.report.intervals import mean_intervals


def one(dice: dict[str, float], **keys) -> pd.DataFrame:
    """A run whose GM has the given Dice: {"subject-session": value}."""
    scans = {tuple(scan.split("-")): {"GM": value, "TCV": 0.9} for scan, value in dice.items()}
    return frame_of(scans, hidden=("GM",), **keys)


def pick(table: pd.DataFrame, **where) -> pd.Series:
    rows = table[np.logical_and.reduce([table[key] == value for key, value in where.items()])]
    assert len(rows) == 1
    return rows.iloc[0]


@pytest.fixture
def summary() -> pd.DataFrame:
    frames = [
        one({"p1-1": 0.2, "p2-1": 0.4, "t1-1": 0.9}, draw=0, seed=0, run="a"),
        one({"p1-1": 0.4, "p2-1": 0.6, "t1-1": 0.9}, draw=0, seed=1, run="b"),
        one({"p1-1": 0.8, "p2-1": 0.0, "t1-1": 0.7}, draw=1, seed=0, run="c"),
    ]
    return summarise_arms(with_arms(pd.concat(frames)))


def test_std_is_over_draws_and_seeds_are_averaged_within(summary) -> None:
    row = pick(summary, metric="dice", age_group="preterm", abbreviation="GM")
    draws = [(0.3 + 0.5) / 2, 0.4]
    assert row["mean"] == pytest.approx(np.mean(draws))
    assert row["std"] == pytest.approx(np.std(draws, ddof=1))
    assert (row["draws"], row["scans"], row["subjects"], row["misses"]) == (2, 2, 2, 1)
    assert row["hidden"]
    everything = pick(summary, metric="dice", age_group="all", abbreviation="GM")
    assert everything["mean"] == pytest.approx(np.mean([(0.5 + 1.9 / 3) / 2, 0.5]))
    assert not pick(summary, metric="hd", age_group="term", abbreviation="TCV")["hidden"]


def test_median_and_spread_are_over_scans(summary) -> None:
    row = pick(summary, metric="dice", age_group="all", abbreviation="GM")
    scans = [np.mean([0.3, 0.8]), np.mean([0.5, 0.0]), np.mean([0.9, 0.7])]
    assert row["median"] == pytest.approx(np.median(scans))
    assert row["scan_std"] == pytest.approx(np.std(scans, ddof=1))
    low, high = mean_intervals(np.array(scans)[:, None], np.array(["p1", "p2", "t1"]), most=1)
    assert (row["low"], row["high"]) == (pytest.approx(low.item()), pytest.approx(high.item()))
    single = pick(summary, metric="dice", age_group="term", abbreviation="GM")
    assert np.isnan([single["low"], single["high"], single["scan_std"]]).all()


def test_runs_without_a_draw_count_by_seed() -> None:
    frames = [
        one({"t1-1": v}, name="full", fraction=NAN, draw=NAN, seed=s, run=f"{s}")
        for s, v in enumerate((0.9, 0.7))
    ]
    summary = summarise_arms(with_arms(pd.concat([*frames, one({"t1-1": 0.5}, run="x")])))
    row = pick(summary, metric="dice", age_group="term", abbreviation="GM", arm="full")
    assert (row["mean"], row["draws"], row["scans"]) == (pytest.approx(0.8), 2, 1)
    assert row["std"] == pytest.approx(np.std([0.9, 0.7], ddof=1))


def test_not_applicable_scores_do_not_drag_the_mean() -> None:
    summary = summarise_arms(with_arms(one({"t1-1": NAN, "t2-1": 0.6})))
    row = pick(summary, metric="dice", age_group="term", abbreviation="GM")
    assert (row["mean"], row["scans"]) == (pytest.approx(0.6), 1)


def test_scans_of_unknown_age_are_in_all_only() -> None:
    scores = one({"p1-1": 0.2, "t1-1": 0.6})
    scores.loc[scores["subject"] == "t1", "age_group"] = "unknown"
    summary = summarise_arms(with_arms(scores))
    assert set(summary["age_group"]) == {"preterm", "all"}
    row = pick(summary, metric="dice", age_group="all", abbreviation="GM")
    assert row["mean"] == pytest.approx(0.4)


def test_means_over_structures_leave_super_classes_out() -> None:
    scans = {("t1", "1"): {"CSF": 0.9, "GM": 0.6, "WM": 0.0, "TCV": 0.1}}
    frame = with_arms(frame_of(scans))
    rows = frame.set_index("abbreviation")
    assert rows.loc[MEAN_OF_HIDDEN, "dice"] == pytest.approx(0.3)
    assert rows.loc[MEAN_OF_LEAVES, "dice"] == pytest.approx(0.5)
    assert rows.loc[MEAN_OF_HIDDEN, "missed"] == 1
    assert MEAN_OF_HIDDEN not in set(with_arms(frame_of(scans, hidden=("GM",)))["abbreviation"])


def test_a_class_that_one_run_hides_is_hidden_in_all() -> None:
    scans = {("t1", "1"): {"CSF": 0.9, "GM": 0.6}}
    frame = with_arms(pd.concat([frame_of(scans, hidden=()), frame_of(scans, run="b", name="x")]))
    assert (
        frame.groupby("abbreviation")["hidden"].agg(["min", "max"]).loc["GM"].tolist() == [True] * 2
    )


def test_scan_means_are_over_runs_then_draws() -> None:
    frames = [
        one({"t1-1": 0.2}, draw=0, run="a"),
        one({"t1-1": 0.4}, draw=0, seed=1, run="b"),
        one({"t1-1": 0.9}, draw=1, run="c"),
    ]
    row = pick(scan_means(with_arms(pd.concat(frames))), abbreviation="GM")
    assert row["dice"] == pytest.approx((0.3 + 0.9) / 2)


@pytest.mark.parametrize(
    ("fraction", "name"), [(0.02, "iuc, 2 %"), (0.125, "iuc, 12.5 %"), (NAN, "iuc")]
)
def test_arm_name(fraction, name) -> None:
    assert arm_name("iuc", fraction) == name


def test_long_seeds_and_draws_stay_apart() -> None:
    frames = [
        one({"t1-1": 0.9}, draw=draw, seed=seed, run=f"{draw}{seed}")
        for draw, seed in ((20240101, 0), (20240102, 0), (NAN, 12345678), (NAN, 12345679))
    ]
    assert with_arms(pd.concat(frames))["draw"].nunique() == 4
