"""Pairs of arms: which, on which scans, with which numbers."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from sweep import frame_of

from neoseg.evaluation.report.arms import MEAN_OF_LEAVES, with_arms
from neoseg.evaluation.report.contrasts import (
    EXPLORATORY,
    WITH_FULL,
    WITH_REFERENCE,
    compare_arms,
    pairs_of_arms,
)
from neoseg.evaluation.report.significance import anova, holm


def run(dice: dict[str, float], name: str, draw: int = 0, fraction: float = 0.05) -> pd.DataFrame:
    scans = {tuple(scan.split("-")): {"GM": value} for scan, value in dice.items()}
    return frame_of(scans, name=name, draw=draw, fraction=fraction, run=f"{name}{draw}{fraction}")


@pytest.fixture
def frame() -> pd.DataFrame:
    """Two arms with two draws; subject t1 has two sessions, t4 only in one arm."""
    low = {"t1-1": 0.5, "t1-2": 0.6, "t2-1": 0.4, "t3-1": 0.5, "t4-1": 0.1}
    high = {"t1-1": 0.7, "t1-2": 0.6, "t2-1": 0.5, "t3-1": 0.9}
    frames = [run(low, "b"), run({k: v + 0.02 for k, v in low.items()}, "b", 1)]
    frames += [run(high, "a"), run({k: v - 0.02 for k, v in high.items()}, "a", 1)]
    return with_arms(pd.concat(frames))


def dice(tests: pd.DataFrame) -> pd.Series:
    rows = tests[(tests["metric"] == "dice") & (tests["age_group"] == "all")]
    return rows[rows["abbreviation"] == "GM"].iloc[0]


def test_differences_are_paired_by_scan(frame) -> None:
    row = dice(compare_arms(frame))
    differences = np.array([0.2, 0.0, 0.1, 0.4]) - 0.02
    assert (row["first"], row["second"]) == ("a, 5 %", "b, 5 %")
    assert (row["scans"], row["subjects"]) == (4, 3)
    assert row["difference"] == pytest.approx(differences.mean())
    subjects = np.array([differences[:2].mean(), *differences[2:]])
    assert row["d_z"] == pytest.approx(subjects.mean() / subjects.std(ddof=1))
    assert row["low"] < 0 < row["difference"] < row["high"]
    assert row["p"] > 0.05
    # Three subjects, all for the first: 2 of 8 patterns of signs, which is the least.
    assert (row["permutation_p"], row["smallest_p"], row["wilcoxon_p"]) == (0.25, 0.25, 0.25)
    assert row["compares"] == "networks"
    assert row["rank_biserial"] == 1


def test_sessions_change_sign_together() -> None:
    """Two subjects with five sessions each are two units, not ten."""
    scans = [f"t{s}-{k}" for s in (1, 2) for k in range(5)]
    frames = [run(dict.fromkeys(scans, 0.8), "a"), run(dict.fromkeys(scans, 0.5), "b")]
    row = dice(compare_arms(with_arms(pd.concat(frames))))
    assert (row["scans"], row["subjects"], row["permutation_p"]) == (10, 2, 0.5)


def test_anova_is_over_draws(frame) -> None:
    row = dice(compare_arms(frame))
    first = [np.mean([0.7, 0.6, 0.5, 0.9]) - 0.02 * d for d in (0, 1)]
    second = [np.mean([0.5, 0.6, 0.4, 0.5, 0.1]) + 0.02 * d for d in (0, 1)]
    f, p = anova([np.array(first)[:, None], np.array(second)[:, None]])
    assert (row["anova_f"], row["anova_p"]) == pytest.approx((f.item(), p.item()))
    assert (row["draws_first"], row["draws_second"]) == (2, 2)


def sweep(draws: int = 4, subjects: int = 6) -> pd.DataFrame:
    """Reference, partial (half of the way) and full supervision, with luck of draw and scan."""
    rng = np.random.default_rng(0)
    frames = []
    for name, level, fraction in (("sup", 0.6, 0.05), ("iuc", 0.7, 0.05), ("full", 0.8, 1.0)):
        for draw in range(draws):
            values = level + rng.normal(0, 0.01) + rng.normal(0, 0.02, (subjects, 2))
            scans = {(f"t{n}", "1"): {"GM": a, "CSF": b} for n, (a, b) in enumerate(values)}
            keys = {"name": name, "fraction": fraction, "draw": draw, "run": f"{name}{draw}"}
            frames.append(frame_of(scans, hidden=("GM",), **keys))
    return with_arms(pd.concat(frames))


def test_families_are_chosen_beforehand_and_holm_is_within() -> None:
    tests = compare_arms(sweep(), reference="sup", full="full")
    found = tests[(tests["metric"] == "dice") & (tests["age_group"] == "all")]
    families = {(row.first, row.second, row.abbreviation): row.family for row in found.itertuples()}
    assert families["iuc, 5 %", "sup, 5 %", "GM"] == WITH_REFERENCE
    assert families["iuc, 5 %", "sup, 5 %", MEAN_OF_LEAVES] == WITH_REFERENCE
    assert families["iuc, 5 %", "sup, 5 %", "CSF"] == EXPLORATORY  # hidden from nobody
    assert families["iuc, 5 %", "full, 100 %", "GM"] == WITH_FULL
    assert families["sup, 5 %", "full, 100 %", "GM"] == WITH_FULL
    for (family, *_), part in tests.groupby(["family", "metric", "age_group"]):
        expected = holm(part["p"]) if family != EXPLORATORY else np.full(len(part), np.nan)
        assert part["holm"].to_numpy() == pytest.approx(expected, nan_ok=True)
    assert "volume_error" not in set(tests["metric"])


def test_methods_have_no_test_of_networks() -> None:
    row = dice(compare_arms(sweep(), reference="sup", full="full"))
    assert row["compares"] == "methods"
    assert row[["permutation_p", "smallest_p", "wilcoxon_p"]].isna().all()
    assert dice(compare_arms(sweep(draws=2)))["compares"] == "networks"


def test_share_of_the_gap_and_the_margin() -> None:
    frame = sweep()
    tests = compare_arms(frame, reference="sup", full="full", margin=0.2)
    rows = tests[(tests["metric"] == "dice") & (tests["abbreviation"] == "GM")]
    rows = rows[rows["age_group"] == "all"].set_index(["first", "second"])
    means = frame[frame["abbreviation"] == "GM"].groupby("arm")["dice"].mean()
    gap = rows.loc[("iuc, 5 %", "sup, 5 %")]
    whole = means["full, 100 %"] - means["sup, 5 %"]
    assert gap["gap"] == pytest.approx((means["iuc, 5 %"] - means["sup, 5 %"]) / whole)
    assert 0.2 < gap["gap_low"] < gap["gap"] < gap["gap_high"] < 0.8
    near, far = (rows.loc[(arm, "full, 100 %")] for arm in ("iuc, 5 %", "sup, 5 %"))
    assert near["noninferior_p"] <= near["equivalent_p"] < 0.05 < far["noninferior_p"]
    assert rows["gap"].notna().sum() == 1
    wide = compare_arms(frame, reference="sup", full="full", margin=0.05)
    assert (wide["noninferior_p"].dropna() > 0.05).all()


def test_a_reference_of_several_kinds_is_that_of_the_same_kind() -> None:
    names = ("sup, lr 1", "sup, lr 2", "iuc, lr 1", "iuc, lr 3")
    frame = with_arms(pd.concat([run({"t1-1": 0.5}, name) for name in names]))
    found = {pair[:2]: pair[2] for pair in pairs_of_arms(frame, "sup")}
    known = [pair for pair, family in found.items() if family == WITH_REFERENCE]
    assert known == [("iuc, lr 1, 5 %", "sup, lr 1, 5 %")]
    found = {pair[:2]: pair[2] for pair in pairs_of_arms(frame, "sup, lr 2")}
    assert sum(family == WITH_REFERENCE for family in found.values()) == 3


def test_pairs_share_a_share_or_meet_full_supervision() -> None:
    arms = [("iuc", 0.02), ("iuc", 0.05), ("sup", 0.02), ("sup", 0.05), ("full", 1.0)]
    arms.append(("bare", float("nan")))
    frame = with_arms(pd.concat([run({"t1-1": 0.5}, n, fraction=f) for n, f in arms]))
    pairs = {pair[:2] for pair in pairs_of_arms(frame)}
    assert ("iuc, 2 %", "sup, 2 %") in pairs
    assert ("full, 100 %", "iuc, 2 %") in pairs
    assert ("bare", "sup, 5 %") in pairs
    assert not {("iuc, 2 %", "sup, 5 %"), ("iuc, 2 %", "iuc, 5 %")} & pairs


def test_a_single_arm_has_nothing_to_be_compared_with() -> None:
    tests = compare_arms(with_arms(run({"t1-1": 0.5}, "a")))
    assert tests.empty
    assert "holm" in tests.columns


def test_arms_without_common_scans_are_not_compared() -> None:
    frames = [run({"t1-1": 0.5}, "a"), run({"t2-1": 0.5}, "b")]
    assert compare_arms(with_arms(pd.concat(frames))).empty
