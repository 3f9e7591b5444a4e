"""Pairs of arms: which, on which scans, with which numbers."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from sweep import frame_of

from neoseg.evaluation.report.arms import with_arms
from neoseg.evaluation.report.contrasts import compare_arms, pairs_of_arms
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
    # Resamples of one subject alone: t1 (both scans) and t2 give 0.08, t3 gives 0.38.
    assert (row["low"], row["high"]) == (pytest.approx(0.08), pytest.approx(0.38))
    # Three subjects, all for the first: 2 of 8 patterns of signs.
    assert (row["permutation_p"], row["wilcoxon_p"]) == (0.25, 0.25)
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


def test_holm_is_within_a_metric_and_age(frame) -> None:
    tests = compare_arms(frame)
    for _, family in tests.groupby(["metric", "age_group"]):
        for name in ("permutation", "wilcoxon", "anova"):
            expected = holm(family[f"{name}_p"])
            assert family[f"{name}_holm"].to_numpy() == pytest.approx(expected, nan_ok=True)
    assert "volume_error" not in set(tests["metric"])


def test_pairs_share_a_share_or_meet_full_supervision() -> None:
    arms = [("iuc", 0.02), ("iuc", 0.05), ("sup", 0.02), ("sup", 0.05), ("full", 1.0)]
    arms.append(("bare", float("nan")))
    frame = with_arms(pd.concat([run({"t1-1": 0.5}, n, fraction=f) for n, f in arms]))
    pairs = set(pairs_of_arms(frame))
    assert ("iuc, 2 %", "sup, 2 %") in pairs
    assert ("full, 100 %", "iuc, 2 %") in pairs
    assert ("bare", "sup, 5 %") in pairs
    assert not {("iuc, 2 %", "sup, 5 %"), ("iuc, 2 %", "iuc, 5 %")} & pairs


def test_a_single_arm_has_nothing_to_be_compared_with() -> None:
    tests = compare_arms(with_arms(run({"t1-1": 0.5}, "a")))
    assert tests.empty
    assert "permutation_holm" in tests.columns


def test_arms_without_common_scans_are_not_compared() -> None:
    frames = [run({"t1-1": 0.5}, "a"), run({"t2-1": 0.5}, "b")]
    assert compare_arms(with_arms(pd.concat(frames))).empty
