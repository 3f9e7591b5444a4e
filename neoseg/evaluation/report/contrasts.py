"""Pairs of arms on the same scans: differences, intervals, tests and effect sizes."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pandas as pd

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
from neoseg.evaluation.table import METRICS, of_age

TESTED = tuple(metric for metric in METRICS if metric != "volume_error")
"""The signed volume error is left out: nearer to 0 is better, so its mean tells no winner."""

WITH_REFERENCE, WITH_FULL, EXPLORATORY = "reference", "full supervision", "exploratory"
"""Families of comparisons; Holm's correction is within the first two."""

MARGIN = 0.02
"""Of Dice. Draws of one method differ by as much on the phantom (0.01 to 0.13)."""

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
    """Return which arms are compared: first, second and the family that they belong to.

    Arms at the same share of fully labelled subjects, and every arm with those at which the share
    is 100 % or does not exist. The second of a pair is full supervision or the reference where one
    of them is; a pair with the reference is in its family where both have the same share and
    differ from their experiments in the same.
    """
    arms = frame.drop_duplicates("arm").sort_values(["experiment", "full_fraction"])
    names = dict(zip(arms["arm"], arms["experiment"], strict=True))
    share = dict(zip(arms["arm"], arms["full_fraction"].fillna(1.0), strict=True))
    found = []
    for one, other in combinations(arms["arm"], 2):
        if share[one] != share[other] and 1.0 not in (share[one], share[other]):
            continue
        ranks = {
            arm: (is_of(names[arm], reference), is_of(names[arm], full) and share[arm] == 1)
            for arm in (one, other)
        }
        first, second = sorted((one, other), key=lambda arm: ranks[arm][::-1])
        family = EXPLORATORY
        if ranks[first] != ranks[second]:
            if ranks[second][1] and not ranks[first][1]:
                family = WITH_FULL
            elif share[first] == share[second] and _rival(names, share, first, reference) == second:
                family = WITH_REFERENCE
        found.append((first, second, family))
    return found


def is_of(experiment: str, name: str) -> bool:
    """Whether an arm's experiment, with or without how it differs, is the one of that name."""
    return bool(name) and (experiment == name or experiment.startswith(f"{name}, "))


def _rival(names: dict[str, str], share: dict[str, float], arm: str, experiment: str) -> str | None:
    """Return the arm of an experiment that another arm is measured by, if it is one alone."""
    own = [n for n in names if is_of(names[n], experiment) and share[n] == share[arm]]
    alike = [n for n in own if names[n].partition(", ")[2] == names[arm].partition(", ")[2]]
    found = own if len(own) == 1 else alike
    return found[0] if len(found) == 1 else None


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
    family: what the comparison was made for, see `pairs_of_arms`; of the classes the means and
    the hidden ones alone are in a family, all else is exploratory;
    compares: "methods", where each arm has three draws, or else these very "networks";
    difference: mean over draws and scans of first minus second; low, high, p: its interval and
    test over draws and subjects, or over subjects alone where networks are compared; holm: p
    corrected for the family, metric and age group;
    noninferior_p, equivalent_p: of Dice against full supervision, whether first is worse, or
    differs, by less than the margin (one test, and two one-sided ones), and with Holm;
    gap, gap_low, gap_high: the share of the way from the reference to full supervision that first
    has come, with Fieller's interval (over draws where draws_full, too, is three), beside the
    comparison with the reference;
    permutation_p: of networks, signs flipped subject by subject, and smallest_p that this could
    give; wilcoxon_p: signed ranks of the subjects' mean differences; d_z, rank_biserial: effect
    sizes of these differences;
    anova_f, anova_p: the paper's one-way analysis of variance, over the per-draw means of the two
    arms (not paired, and blind to the number of scans).

    Args:
        frame: from `arms.with_arms`.
        level: of the intervals.
        seed: of the permutations.
        reference, full: experiments that the others are compared with.
        margin: of Dice.
    """
    classes = frame.groupby("abbreviation", sort=False).agg({"class": "first", "hidden": "any"})
    pairs = pairs_of_arms(frame, reference, full)
    parts = []
    for group in age_groups(frame):
        tables = draw_means(of_age(frame, group), TESTED)
        for first, second, family in pairs:
            if first in tables and second in tables:
                ends = _ends(pairs, first, family, tables)
                part = _compared(
                    [tables[arm] for arm in (first, second, *ends)], level, seed, margin
                )
                about = {"first": first, "second": second, "age_group": group, "family": family}
                parts.append(part.reset_index().assign(**about))
    if not parts:
        return pd.DataFrame(columns=list(_COLUMNS))
    result = pd.concat(parts, ignore_index=True)
    result = result[result["scans"] > 0].join(classes, on="abbreviation")
    headline = result["hidden"] | result["abbreviation"].isin(MEANS)
    result["family"] = result["family"].where(headline, EXPLORATORY)
    in_dice = (result["family"] == WITH_FULL) & (result["metric"] == "dice")
    chosen = result["family"] != EXPLORATORY
    for name, kept in (("", chosen), ("noninferior_", in_dice), ("equivalent_", in_dice)):
        p = result[f"{name}p"].where(kept)
        if name:
            result[f"{name}p"] = p
        result[f"{name}holm"] = p.groupby(
            [result["metric"], result["age_group"], result["family"]]
        ).transform(lambda family: holm(family.to_numpy()))
    rank = {name: number for number, name in enumerate(classes.index)}
    order = result["abbreviation"].map(rank) + len(rank) * result["metric"].map(TESTED.index)
    pair = result.groupby(["age_group", "first", "second"], sort=False).ngroup()
    result = result.assign(order=order, pair=pair).sort_values(["pair", "order"], kind="stable")
    return result.reindex(columns=list(_COLUMNS)).reset_index(drop=True)


def _ends(
    pairs: list[tuple[str, str, str]],
    first: str,
    family: str,
    tables: dict[str, pd.DataFrame],
) -> list[str]:
    """Return the one arm of full supervision to which a gap from the first arm leads."""
    if family != WITH_REFERENCE:
        return []
    found = [b for a, b, other in pairs if a == first and other == WITH_FULL and b in tables]
    return found if len(found) == 1 else []


def _compared(arms: list[pd.DataFrame], level: float, seed: int, margin: float) -> pd.DataFrame:
    """Compare the first two tables of `draw_means`; the third, if any, is the end of the gap."""
    means = [arm.groupby(level=list(SCAN[:2]), sort=False).mean() for arm in arms]
    scans, columns = means[0].index, means[0].columns
    for mean in means[1:]:
        scans = scans.intersection(mean.index, sort=False)
        columns = columns.intersection(mean.columns, sort=False)
    subjects = scans.get_level_values("subject").to_numpy().astype(str)
    draws = [[str(draw) for draw in arm.index.unique("draw")] for arm in arms]
    tables = [
        np.stack([arm.xs(draw, level="draw")[columns].reindex(scans).to_numpy() for draw in own])
        for arm, own in zip(arms, draws, strict=True)
    ]
    crossed = Crossed(tables[:2], draws[:2], subjects)
    found = crossed.contrast(1, -1)
    low, high = found.interval(level)
    by_subject = (means[0] - means[1]).loc[scans, columns].groupby(subjects)
    of_subject = by_subject.mean().to_numpy()
    result = pd.DataFrame(
        {
            "compares": "methods" if crossed.methods else "networks",
            "scans": crossed.scans,
            "subjects": crossed.subjects,
            "draws_first": len(draws[0]),
            "draws_second": len(draws[1]),
            "difference": found.value,
            "low": low,
            "high": high,
            "p": found.differs(),
            "noninferior_p": found.above(-margin),
            "equivalent_p": np.maximum(found.above(-margin), found.below(margin)),
            "d_z": cohens_d(of_subject),
            "rank_biserial": rank_biserial(of_subject),
        },
        index=columns,
    )
    if not crossed.methods:
        result["permutation_p"] = sign_flips(by_subject.sum().to_numpy(), seed)
        result["smallest_p"] = smallest_p(crossed.subjects)
        result["wilcoxon_p"] = wilcoxon(of_subject)
    if len(arms) > 2:
        result["draws_full"] = len(draws[2])
        ends = Crossed(tables, draws, subjects).ratio(level)
        result["gap"], result["gap_low"], result["gap_high"] = ends
    own = [arm[columns].groupby(level="draw", sort=False).mean().to_numpy() for arm in arms[:2]]
    result["anova_f"], result["anova_p"] = anova(own)
    result.index.names = ["metric", "abbreviation"]
    return result
