"""Arms of a sweep: their runs, scores per scan, and summaries over draws and scans."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from neoseg.evaluation.metrics import METRICS
from neoseg.evaluation.report.intervals import LEVEL, mean_intervals
from neoseg.evaluation.table import of_age

ARM = ("arm", "experiment", "full_fraction")
SCAN = ("person", "subject", "session", "scan_age", "age_group")
CLASS = ("class", "abbreviation")

MEAN_OF_LEAVES = "mean of all"
MEAN_OF_HIDDEN = "mean of hidden"
"""Abbreviations of the rows with a scan's mean over all structures (leaves), and over those that
the annotation protocol of some run hides."""
MEANS = (MEAN_OF_HIDDEN, MEAN_OF_LEAVES)

AGES = ("preterm", "term", "all")
"""Age groups in the order of tables and panels."""

_GROUP_OPTIONS: dict[str, Any] = {"sort": False, "dropna": False}


def arm_name(experiment: str, full_fraction: float) -> str:
    """Return "name, 2 %", or the name alone if `full_fraction` is NaN."""
    return experiment if pd.isna(full_fraction) else f"{experiment}, {100 * full_fraction:g} %"


def with_arms(scores: pd.DataFrame) -> pd.DataFrame:
    """Add the columns `arm` and `draw` (text), `hidden` per class, and rows of means over leaves.

    An arm is an experiment at one share of fully annotated subjects. If a run has no draw, its
    seed takes that role. `hidden` becomes one value per class: whether any run hides it. The rows
    of means have no volumes; `missed` and `invented` count structures there.
    """
    frame = scores.copy()
    frame["person"] = frame.get("person", frame["subject"])
    frame["draw"] = np.where(
        frame["draw"].isna(),
        "seed " + frame["seed"].map("{:.0f}".format),
        "draw " + frame["draw"].map("{:.0f}".format),
    )
    frame["arm"] = [
        arm_name(*pair) for pair in zip(frame["experiment"], frame["full_fraction"], strict=True)
    ]
    frame["hidden"] = frame.groupby("abbreviation")["hidden"].transform("any")
    frame[["missed", "invented"]] = frame[["missed", "invented"]].astype(int)
    leaves = frame[frame["is_leaf"]]
    parts = [frame]
    for name, part in (
        (MEAN_OF_HIDDEN, leaves[leaves["hidden"]]),
        (MEAN_OF_LEAVES, leaves),
    ):
        if len(part) == 0 or (name == MEAN_OF_HIDDEN and part["abbreviation"].nunique() < 2):
            continue
        by = [*ARM, "draw", "seed", "run", *SCAN]
        aggregations = dict.fromkeys(METRICS, "mean") | {"missed": "sum", "invented": "sum"}
        mean = part.groupby(by, **_GROUP_OPTIONS).agg(aggregations).reset_index()
        texts = {"class": f"{name} structures", "abbreviation": name}
        parts.append(mean.assign(**texts, hidden=name == MEAN_OF_HIDDEN, is_leaf=False))
    return pd.concat(parts, ignore_index=True)


def scan_means(frame: pd.DataFrame) -> pd.DataFrame:
    """Return one row per arm, scan and class: the mean over runs of a draw, then over draws.

    `frame` comes from `with_arms`. Columns: `ARM`, `SCAN`, `CLASS` and the metrics.
    """
    keys = [*ARM, *SCAN, *CLASS]
    draws = frame.groupby([*keys, "draw"], **_GROUP_OPTIONS)[list(METRICS)].mean()
    return draws.groupby(level=keys, **_GROUP_OPTIONS).mean().reset_index()


def draw_means(frame: pd.DataFrame, metrics: Sequence[str]) -> dict[str, pd.DataFrame]:
    """Return arm -> table: a row per draw and scan (mean over runs), columns (metric, class)."""
    keys = ["arm", "draw", *SCAN[:3], "abbreviation"]
    table = frame.groupby(keys, sort=False)[list(metrics)].mean().unstack("abbreviation")
    return {arm: table.loc[arm] for arm in dict.fromkeys(frame["arm"])}


def single_classes(summary: pd.DataFrame) -> list[str]:
    """Return the structures that some protocol hides, or all if none is hidden."""
    hidden = set(summary.loc[summary["hidden"], "abbreviation"]) - {*MEANS}
    names = [name for name in dict.fromkeys(summary["abbreviation"]) if name not in MEANS]
    return [name for name in names if not hidden or name in hidden]


def ages_in(frame: pd.DataFrame) -> list[str]:
    """Return the age groups that a frame names, in the order of `AGES`."""
    present = set(frame["age_group"])
    return [name for name in AGES if name in present]


def age_groups(frame: pd.DataFrame) -> list[str]:
    """Return the age groups that have scans ("preterm", "term"), followed by "all"."""
    return [*ages_in(frame), "all"]


def summarise_arms(frame: pd.DataFrame, *, level: float = LEVEL) -> pd.DataFrame:
    """Summarise the scores of each arm, one row per arm, age group, class and metric.

    Columns: arm, experiment, full_fraction, age_group (preterm, term, all), class, abbreviation,
    hidden, metric;
    mean, std: over draws, of the per-draw means over scans (n - 1), as in the paper;
    median, scan_std: over scans, of their means over draws;
    low, high: confidence interval of the mean over scans, clustered by person; it covers the
    variation between test subjects, not between draws; NaN below three subjects;
    draws, scans, subjects: counts, of subjects those with a Dice; misses, inventions: summed over
    runs.

    Args:
        frame: from `with_arms`.
        level: coverage of the intervals.
    """
    arm_columns = frame.drop_duplicates("arm").set_index("arm")[list(ARM[1:])]
    classes = frame.groupby("abbreviation", sort=False).agg({"class": "first", "hidden": "any"})
    scans = scan_means(frame)
    parts = []
    for group in age_groups(frame):
        runs_of = dict(list(of_age(frame, group).groupby("arm", sort=False)))
        scans_of = dict(list(of_age(scans, group).groupby("arm", sort=False)))
        for arm, runs in runs_of.items():
            part = _summary(runs, scans_of[arm], level)
            parts.append(part.assign(arm=arm, age_group=group))
    table = pd.concat(parts, ignore_index=True).dropna(subset="mean")
    table = table.join(arm_columns, on="arm").join(classes, on="abbreviation")
    order = pd.Series(range(len(classes)), index=classes.index)
    groups = pd.Series(range(3), index=AGES)
    table = table.assign(
        position=table["abbreviation"].map(order),
        age=table["age_group"].map(groups),
        rank=table["metric"].map(list(METRICS).index),
    ).sort_values(["experiment", "full_fraction", "age", "position", "rank"], kind="stable")
    columns = [*ARM, "age_group", *CLASS, "hidden", "metric", "mean", "std", "median", "scan_std"]
    columns += ["low", "high", "draws", "scans", "subjects", "misses", "inventions"]
    return table[columns].reset_index(drop=True)


def wide(scans: pd.DataFrame) -> pd.DataFrame:
    """Pivot the rows of one arm in `scan_means`: a row per scan, columns (metric, abbreviation)."""
    keys = [*SCAN[:3], "abbreviation"]
    table = scans.set_index(keys)[list(METRICS)].unstack("abbreviation")
    assert isinstance(table, pd.DataFrame)  # a Series only if there were a single metric
    return table


def _summary(runs: pd.DataFrame, scans: pd.DataFrame, level: float) -> pd.DataFrame:
    """Return the rows of `summarise_arms` for one arm and age group."""
    per_run = runs.groupby(["abbreviation", "draw", "run"], sort=False)[list(METRICS)].mean()
    draws = per_run.groupby(level=["abbreviation", "draw"], sort=False).mean()
    over_draws = draws.groupby(level="abbreviation", sort=False)
    over_scans = scans.groupby("abbreviation", sort=False)[list(METRICS)]
    table = wide(scans)
    # NaN for metrics of either sign; the others begin at 0.
    upper = {name: metric.most if metric.least == 0 else np.nan for name, metric in METRICS.items()}
    low, high = mean_intervals(
        table.to_numpy(),
        table.index.get_level_values("person").to_numpy(),
        level=level,
        most=np.array([upper[name] for name in table.columns.get_level_values(0)]),
    )
    columns = {
        "mean": over_draws.mean().stack(),
        "std": over_draws.std().stack(),
        "draws": over_draws.count().stack(),
        "median": over_scans.median().stack(),
        "scan_std": over_scans.std().stack(),
        "scans": over_scans.count().stack(),
        "low": pd.Series(low, index=table.columns).swaplevel(),
        "high": pd.Series(high, index=table.columns).swaplevel(),
    }
    result = pd.DataFrame(columns)
    result.index.names = ["abbreviation", "metric"]
    counts = runs.groupby("abbreviation", sort=False).agg(
        misses=("missed", "sum"), inventions=("invented", "sum")
    )
    scored = runs[runs["dice"].notna()].groupby("abbreviation", sort=False)
    counts.insert(0, "subjects", scored["person"].nunique())
    return result.join(counts.fillna({"subjects": 0}).astype(int)).reset_index()
