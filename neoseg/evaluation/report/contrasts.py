"""Pairs of arms on the same scans: differences, intervals, tests and effect sizes."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pandas as pd

from neoseg.evaluation.report.arms import CLASS, age_groups, of_age, scan_means, wide
from neoseg.evaluation.report.bootstrap import LEVEL, RESAMPLES, cluster_sums, mean_intervals
from neoseg.evaluation.report.significance import (
    anova,
    cohens_d,
    holm,
    rank_biserial,
    sign_flips,
    wilcoxon,
)
from neoseg.evaluation.table import METRICS

TESTED = tuple(metric for metric in METRICS if metric != "volume_error")
"""The signed volume error is left out: nearer to 0 is better, so its mean tells no winner."""

_CORRECTED = ("permutation", "wilcoxon", "anova")
_COLUMNS = (
    *("first", "second", "age_group", *CLASS, "metric", "scans", "subjects"),
    *("difference", "low", "high", "permutation_p", "permutation_holm"),
    *("wilcoxon_p", "wilcoxon_holm", "d_z", "rank_biserial"),
    *("draws_first", "draws_second", "anova_f", "anova_p", "anova_holm"),
)


def pairs_of_arms(frame: pd.DataFrame) -> list[tuple[str, str]]:
    """Return which arms are compared, in the order of their names and shares.

    Arms at the same share of fully labelled subjects, and every arm with those at which the share
    is 100 % or does not exist.
    """
    arms = frame.drop_duplicates("arm").sort_values(["experiment", "full_fraction"])
    share = dict(zip(arms["arm"], arms["full_fraction"].fillna(1.0), strict=True))
    return [
        (first, second)
        for first, second in combinations(arms["arm"], 2)
        if share[first] == share[second] or 1.0 in (share[first], share[second])
    ]


def compare_arms(
    frame: pd.DataFrame, *, level: float = LEVEL, resamples: int = RESAMPLES, seed: int = 0
) -> pd.DataFrame:
    """Compare pairs of arms on the scans that both have scored, one row per class and metric.

    Columns: first, second (arms), age_group, class, abbreviation, metric, scans, subjects;
    difference: mean over scans of first minus second, each averaged over its draws;
    low, high: its bootstrap interval, clustered by subject;
    permutation_p: signs flipped subject by subject; wilcoxon_p: signed ranks of the subjects'
    mean differences; d_z, rank_biserial: effect sizes of these differences;
    anova_f, anova_p: the paper's one-way analysis of variance, over the per-draw means of the two
    arms (not paired, and blind to the number of scans); draws_first, draws_second;
    *_holm: p-values corrected for all pairs and classes of one metric and age group.

    Args:
        frame: from `arms.with_arms`.
        level, resamples, seed: of bootstrap and permutations.
    """
    scans = scan_means(frame)
    classes = dict(zip(frame["abbreviation"], frame["class"], strict=True))
    parts = []
    for group in age_groups(frame):
        tables = {arm: wide(part) for arm, part in of_age(scans, group).groupby("arm", sort=False)}
        draws = _draw_means(of_age(frame, group))
        for first, second in pairs_of_arms(frame):
            if first not in tables or second not in tables:
                continue
            part = _paired(tables[first], tables[second], level, resamples, seed)
            part = part.join(_unpaired(draws[first], draws[second]))
            parts.append(part.reset_index().assign(first=first, second=second, age_group=group))
    if not parts:
        return pd.DataFrame(columns=list(_COLUMNS))
    result = pd.concat(parts, ignore_index=True)
    result = result[result["metric"].isin(TESTED) & (result["scans"] > 0)]
    result["class"] = result["abbreviation"].map(classes)
    for name in _CORRECTED:
        family = result.groupby(["metric", "age_group"], sort=False)[f"{name}_p"]
        result[f"{name}_holm"] = family.transform(lambda p: holm(p.to_numpy()))
    rank = {name: number for number, name in enumerate(classes)}
    order = result["abbreviation"].map(rank) + len(rank) * result["metric"].map(TESTED.index)
    result = result.assign(order=order)
    pair = result.groupby(["age_group", "first", "second"], sort=False).ngroup()
    result = result.assign(pair=pair).sort_values(["pair", "order"], kind="stable")
    return result[list(_COLUMNS)].reset_index(drop=True)


def _paired(
    first: pd.DataFrame, second: pd.DataFrame, level: float, resamples: int, seed: int
) -> pd.DataFrame:
    """Compare two tables of `wide` on the scans and columns that they share."""
    scans = first.index.intersection(second.index)
    columns = first.columns.intersection(second.columns, sort=False)
    columns = columns[columns.get_level_values(0).isin(TESTED)]
    difference = (first.loc[scans, columns] - second.loc[scans, columns]).to_numpy()
    subjects = scans.get_level_values("subject").to_numpy().astype(str)
    names, place = np.unique(subjects, return_inverse=True)
    sums, counts = cluster_sums(difference, place, len(names))
    with np.errstate(invalid="ignore"):
        of_subject = np.where(counts > 0, sums / counts, np.nan)
    low, high = mean_intervals(difference, subjects, level=level, resamples=resamples, seed=seed)
    number = (~np.isnan(difference)).sum(axis=0)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = np.where(number > 0, sums.sum(axis=0) / number, np.nan)
    result = pd.DataFrame(
        {
            "scans": number,
            "subjects": (counts > 0).sum(axis=0),
            "difference": mean,
            "low": low,
            "high": high,
            "permutation_p": np.where(number > 0, sign_flips(sums, seed), np.nan),
            "wilcoxon_p": wilcoxon(of_subject),
            "d_z": cohens_d(of_subject),
            "rank_biserial": rank_biserial(of_subject),
        },
        index=columns,
    )
    result.index.names = ["metric", "abbreviation"]
    return result


def _draw_means(frame: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Return arm -> a row per draw, columns (metric, abbreviation), means over runs and scans."""
    keys = ["arm", "draw", "run", "abbreviation"]
    runs = frame.groupby(keys, sort=False)[list(TESTED)].mean()
    draws = runs.groupby(level=["arm", "draw", "abbreviation"], sort=False).mean()
    table = draws.unstack("abbreviation")
    return {arm: table.loc[arm] for arm in dict.fromkeys(frame["arm"])}


def _unpaired(first: pd.DataFrame, second: pd.DataFrame) -> pd.DataFrame:
    columns = first.columns.intersection(second.columns, sort=False)
    groups = [table[columns].to_numpy() for table in (first, second)]
    f, p = anova(groups)
    counts = [(~np.isnan(group)).sum(axis=0) for group in groups]
    result = pd.DataFrame(
        {"draws_first": counts[0], "draws_second": counts[1], "anova_f": f, "anova_p": p},
        index=columns,
    )
    result.index.names = ["metric", "abbreviation"]
    return result
