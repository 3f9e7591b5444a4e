"""Pairs of arms on the same scans: differences, intervals, tests and effect sizes."""

from collections.abc import Iterable
from functools import reduce
from itertools import combinations

import numpy as np
import pandas as pd

from neoseg.evaluation.metrics import METRICS
from neoseg.evaluation.report.arms import CLASS, MEANS, SCAN, age_groups, draw_means
from neoseg.evaluation.report.crossed import Crossed
from neoseg.evaluation.report.intervals import LEVEL
from neoseg.evaluation.report.significance import (
    anova,
    cohens_d,
    holm,
    rank_biserial,
    sign_flips,
    smallest_p,
    wilcoxon,
)
from neoseg.evaluation.table import of_age

TESTED = tuple(metric for metric in METRICS if metric != "volume_error")
"""Metrics that are compared: all except the signed volume error, for which neither a higher nor a
lower mean is better."""

WITH_REFERENCE, WITH_FULL, EXPLORATORY = "reference", "full supervision", "exploratory"
"""Families of comparisons; Holm's correction is applied within each of the first two."""

MARGIN = 0.02
"""Default margin of Dice. Draws of one method differ as much on the phantom (0.01 to 0.13)."""

_COLUMNS = (
    *("first", "second", "age_group", *CLASS, "metric", "family", "compares"),
    *("scans", "subjects", "draws_first", "draws_second", "difference", "low", "high", "p", "holm"),
    *("noninferior_p", "noninferior_holm", "equivalent_p", "equivalent_holm"),
    *("gap", "gap_low", "gap_high", "draws_full", "permutation_p", "smallest_p", "wilcoxon_p"),
    *("d_z", "rank_biserial", "anova_f", "anova_p"),
)


def pairs_of_arms(
    frame: pd.DataFrame, reference: str = "", full: str = ""
) -> list[tuple[str, str, str]]:
    """Return the compared pairs of arms as (first, second, family).

    Arms are compared with those at the same share of fully labelled subjects, and with those at
    100 % or without a share. If a pair contains full supervision or the reference, that is the
    second arm. A pair with the reference is in the reference family if both arms have the same
    share and it is the reference arm that matches the first (see `_reference_arm`).
    """
    arms = frame.drop_duplicates("arm").sort_values(["experiment", "full_fraction"])
    names = dict(zip(arms["arm"], arms["experiment"], strict=True))
    share = dict(zip(arms["arm"], arms["full_fraction"].fillna(1.0), strict=True))
    pairs = []
    for a, b in combinations(arms["arm"], 2):
        if share[a] != share[b] and 1.0 not in (share[a], share[b]):
            continue
        ranks = {
            arm: (is_of(names[arm], reference), is_of(names[arm], full) and share[arm] == 1)
            for arm in (a, b)
        }
        first, second = sorted((a, b), key=lambda arm: ranks[arm][::-1])
        family = EXPLORATORY
        if ranks[first] != ranks[second]:
            if ranks[second][1] and not ranks[first][1]:
                family = WITH_FULL
            elif (
                share[first] == share[second]
                and _reference_arm(names, share, first, reference) == second
            ):
                family = WITH_REFERENCE
        pairs.append((first, second, family))
    return pairs


def is_of(experiment: str, name: str) -> bool:
    """Return whether `experiment` is `name`, with or without a suffix such as ", lr 0.01"."""
    return bool(name) and (experiment == name or experiment.startswith(f"{name}, "))


def _reference_arm(
    names: dict[str, str], share: dict[str, float], arm: str, experiment: str
) -> str | None:
    """Return the arm of `experiment` to compare `arm` with, None if there is not exactly one.

    Candidates have the same share; of several, the one with the same suffix after the name.
    """
    candidates = [n for n in names if is_of(names[n], experiment) and share[n] == share[arm]]
    matching = [
        n for n in candidates if names[n].partition(", ")[2] == names[arm].partition(", ")[2]
    ]
    chosen = candidates if len(candidates) == 1 else matching
    return chosen[0] if len(chosen) == 1 else None


def compare_arms(
    frame: pd.DataFrame,
    *,
    level: float = LEVEL,
    seed: int = 0,
    reference: str = "",
    full: str = "",
    margin: float = MARGIN,
) -> pd.DataFrame:
    """Compare pairs of arms on the scans that both have scored, one row per class and metric.

    Columns: first, second (arms), age_group, class, abbreviation, metric;
    family: purpose of the comparison, see `pairs_of_arms`; only the means and the hidden classes
    are in a family, all others are exploratory;
    compares: "methods" if each arm has at least three draws, otherwise "networks";
    difference: mean over draws and scans of first minus second; low, high, p: its interval and
    test over draws and subjects, or over subjects alone if networks are compared; holm: p
    corrected within family, metric and age group;
    noninferior_p, equivalent_p: Dice against full supervision, testing that first is worse (one
    test), or differs (two one-sided tests), by less than the margin; `_holm`: Holm's correction;
    gap, gap_low, gap_high: share of the gap from the reference to full supervision that first
    closes, with Fieller's interval (over draws if full supervision has three as well); in the rows
    of comparisons with the reference; draws_full: draws of full supervision;
    permutation_p: for networks, test by flipping signs per subject; smallest_p: the smallest p
    that it can give; wilcoxon_p: signed ranks of the subjects' mean differences; d_z,
    rank_biserial: effect sizes of these differences;
    anova_f, anova_p: the paper's one-way analysis of variance over the per-draw means of the two
    arms (unpaired, and independent of the number of scans).

    Args:
        frame: from `arms.with_arms`.
        level: coverage of the intervals.
        seed: of the permutations.
        reference, full: experiments that the others are compared with.
        margin: margin of Dice for non-inferiority and equivalence.
    """
    classes = frame.groupby("abbreviation", sort=False).agg({"class": "first", "hidden": "any"})
    pairs = pairs_of_arms(frame, reference, full)
    parts = []
    for group in age_groups(frame):
        tables = draw_means(of_age(frame, group), TESTED)
        for first, second, family in pairs:
            if first in tables and second in tables:
                full_arm = _full_arm(pairs, first, family, tables)
                part = _compare_pair(
                    [tables[arm] for arm in (first, second, *full_arm)], level, seed, margin
                )
                columns = {"first": first, "second": second, "age_group": group, "family": family}
                parts.append(part.reset_index().assign(**columns))
    if not parts:
        return pd.DataFrame(columns=list(_COLUMNS))
    result = pd.concat(parts, ignore_index=True)
    result = result[result["scans"] > 0].join(classes, on="abbreviation")
    headline = result["hidden"] | result["abbreviation"].isin(MEANS)
    result["family"] = result["family"].where(headline, EXPLORATORY)
    _add_holm(result)
    rank = {name: number for number, name in enumerate(classes.index)}
    order = result["abbreviation"].map(rank) + len(rank) * result["metric"].map(TESTED.index)
    pair = result.groupby(["age_group", "first", "second"], sort=False).ngroup()
    result = result.assign(order=order, pair=pair).sort_values(["pair", "order"], kind="stable")
    return result.reindex(columns=list(_COLUMNS)).reset_index(drop=True)


def _add_holm(result: pd.DataFrame) -> None:
    """Add the corrected p of the families, in place; keep those against a margin for Dice alone."""
    within = [result["metric"], result["age_group"], result["family"]]
    in_dice = (result["family"] == WITH_FULL) & (result["metric"] == "dice")
    result["noninferior_p"] = result["noninferior_p"].where(in_dice)
    result["equivalent_p"] = result["equivalent_p"].where(in_dice)
    for name in ("", "noninferior_", "equivalent_"):
        p = result[f"{name}p"].where(result["family"] != EXPLORATORY)
        corrected = p.groupby(within).transform(lambda family: holm(family.to_numpy()))
        result[f"{name}holm"] = corrected


def _full_arm(
    pairs: list[tuple[str, str, str]],
    first: str,
    family: str,
    tables: dict[str, pd.DataFrame],
) -> list[str]:
    """Return the arm of full supervision at the end of the gap, as a list of one or none."""
    if family != WITH_REFERENCE:
        return []
    arms = [b for a, b, kind in pairs if a == first and kind == WITH_FULL and b in tables]
    return arms if len(arms) == 1 else []


def _common(indices: Iterable[pd.Index]) -> pd.Index:
    """Return the entries that all indices have, in the order of the first."""
    return reduce(lambda first, other: first.intersection(other, sort=False), indices)


def _compare_pair(arms: list[pd.DataFrame], level: float, seed: int, margin: float) -> pd.DataFrame:
    """Compare the first two tables of `draw_means`; an optional third is full supervision."""
    means = [arm.groupby(level=list(SCAN[:3]), sort=False).mean() for arm in arms]
    scans, columns = _common(mean.index for mean in means), _common(mean.columns for mean in means)
    subjects = scans.get_level_values("person").to_numpy().astype(str)
    draws = [[str(draw) for draw in arm.index.unique("draw")] for arm in arms]
    tables = [
        np.stack([arm.xs(draw, level="draw")[columns].reindex(scans).to_numpy() for draw in names])
        for arm, names in zip(arms, draws, strict=True)
    ]
    crossed = Crossed(tables[:2], draws[:2], subjects)
    estimate = crossed.contrast(1, -1)
    low, high = estimate.interval(level)
    by_subject = (means[0] - means[1]).loc[scans, columns].groupby(subjects)
    subject_means = by_subject.mean().to_numpy()
    result = pd.DataFrame(
        {
            "compares": "methods" if crossed.methods else "networks",
            "scans": crossed.scans,
            "subjects": crossed.subjects,
            "draws_first": len(draws[0]),
            "draws_second": len(draws[1]),
            "difference": estimate.value,
            "low": low,
            "high": high,
            "p": estimate.differs(),
            "noninferior_p": estimate.above(-margin),
            "equivalent_p": np.maximum(estimate.above(-margin), estimate.below(margin)),
            "d_z": cohens_d(subject_means),
            "rank_biserial": rank_biserial(subject_means),
        },
        index=columns,
    )
    if not crossed.methods:
        result["permutation_p"] = sign_flips(by_subject.sum().to_numpy(), seed)
        result["smallest_p"] = smallest_p(crossed.subjects)
        result["wilcoxon_p"] = wilcoxon(subject_means)
    if len(arms) > 2:
        result["draws_full"] = len(draws[2])
        ratio = Crossed(tables, draws, subjects).ratio(level)
        result["gap"], result["gap_low"], result["gap_high"] = ratio
    groups = [arm[columns].groupby(level="draw", sort=False).mean().to_numpy() for arm in arms[:2]]
    result["anova_f"], result["anova_p"] = anova(groups)
    result.index.names = ["metric", "abbreviation"]
    return result
