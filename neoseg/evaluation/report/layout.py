"""Score tables as text, in the layout of the paper's tables."""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import pandas as pd

from neoseg.evaluation.metrics import METRICS
from neoseg.evaluation.overview import plus_minus
from neoseg.evaluation.report.arms import MEANS, ages_in, single_classes
from neoseg.evaluation.report.contrasts import WITH_REFERENCE

SIGNIFICANT = 0.05
_HEADLINES = 14


def share_name(full_fraction: float) -> str:
    """Return a share as text such as "5 %"; "" for NaN."""
    return "" if pd.isna(full_fraction) else f"{100 * full_fraction:g} %"


def headline_classes(summary: pd.DataFrame) -> list[str]:
    """Return the classes of the short tables: the hidden ones and the means.

    All classes if none is hidden, and only the means if there would be more than 14 classes.
    """
    single, names = single_classes(summary), dict.fromkeys(summary["abbreviation"])
    return (single if len(single) <= _HEADLINES else []) + [n for n in names if n in MEANS]


def by_share(
    summary: pd.DataFrame,
    metric: str,
    classes: Sequence[str] | None = None,
    better: set[tuple[str, str, str]] | None = None,
) -> pd.DataFrame:
    """Return one metric as text, mean ± std over draws, as in the paper's main table.

    One row per age group and class, one column per share of full labels (ascending) and
    experiment. `classes` selects and orders the rows. An asterisk marks the cells in `better`,
    given as (arm, age group, abbreviation).
    """
    part = summary[summary["metric"] == metric]
    arms = part.drop_duplicates("arm").sort_values(
        ["full_fraction", "experiment"], na_position="last", kind="stable"
    )
    names = list(classes if classes is not None else dict.fromkeys(part["abbreviation"]))
    cells = part.set_index(["arm", "age_group", "abbreviation"])
    hidden = set(part.loc[part["hidden"], "abbreviation"])
    rows = []
    for group in ages_in(part):
        for number, name in enumerate(names):
            row = ["" if number else group, f"{name}†" if name in hidden - {*MEANS} else name]
            for arm in arms["arm"]:
                key: Any = (arm, group, name)
                if key not in cells.index:
                    row.append("–")
                    continue
                cell = cells.loc[key]
                text = plus_minus(cell["mean"], cell["std"], METRICS[metric].digits)
                row.append(text + ("*" if key in (better or ()) else ""))
            rows.append(row)
    headers = [
        (share_name(share), experiment)
        for share, experiment in zip(arms["full_fraction"], arms["experiment"], strict=True)
    ]
    columns = pd.MultiIndex.from_tuples([("", "scans"), ("", "structure"), *headers])
    return pd.DataFrame(rows, columns=columns)


def by_arm(summary: pd.DataFrame, classes: Sequence[str]) -> pd.DataFrame:
    """Return the means of Dice as text, as in the paper's table of losses.

    One row per experiment, one column per share and age group; a cell contains the means of the
    classes in order, separated by slashes.
    """
    part = summary[(summary["metric"] == "dice") & summary["abbreviation"].isin(classes)]
    part = part.assign(share=part["full_fraction"].map(share_name))
    groups = [group for group in ages_in(part) if group != "all"] or ["all"]
    shares = part.drop_duplicates("share").sort_values("full_fraction", na_position="last")["share"]
    cells = part.set_index(["experiment", "share", "age_group", "abbreviation"])["mean"]
    headers = [(share, group) for share in shares for group in groups]
    digits = METRICS["dice"].digits
    rows = []
    for experiment in sorted(set(part["experiment"])):
        row = [experiment]
        for share, group in headers:
            means = [cells.get((experiment, share, group, name), np.nan) for name in classes]
            texts = ["–" if pd.isna(mean) else f"{mean:.{digits}f}" for mean in means]
            row.append("–" if set(texts) == {"–"} else "/".join(texts))
        rows.append(row)
    return pd.DataFrame(rows, columns=pd.MultiIndex.from_tuples([("", "experiment"), *headers]))


def significant(tests: pd.DataFrame, metric: str) -> set[tuple[str, str, str]]:
    """Return the cells (arm, age group, abbreviation) of methods better than the reference.

    Only comparisons with the reference count, with p below 0.05 after Holm's correction; arms with
    fewer than three draws are compared as networks and never included.

    Args:
        tests: from `compare_arms`.
        metric: one whose mean can be better or worse.
    """
    part = tests[(tests["metric"] == metric) & (tests["holm"] < SIGNIFICANT)]
    part = part[(part["family"] == WITH_REFERENCE) & (part["compares"] == "methods")]
    part = part[(part["difference"] > 0) == (METRICS[metric].better > 0)]
    return set(zip(part["first"], part["age_group"], part["abbreviation"], strict=True))


def comparison_table(tests: pd.DataFrame, classes: Sequence[str]) -> pd.DataFrame:
    """Return comparisons of Dice as text: difference, interval, p-values and effect size."""
    part = tests[(tests["metric"] == "dice") & tests["abbreviation"].isin(classes)]
    digits = METRICS["dice"].digits
    comparisons: Iterable[Any] = part.itertuples(index=False)
    rows = [
        {
            "first": row.first,
            "second": row.second,
            "scans": row.age_group,
            "structure": row.abbreviation,
            "difference": f"{row.difference:+.{digits}f}",
            "interval": interval(row.low, row.high, digits),
            "draws": f"{row.draws_first}/{row.draws_second}",
            "subjects": str(row.subjects),
            "compares": row.compares,
            "p": p_value(row.p),
            "Holm": p_value(row.holm),
            "permutation (smallest)": (
                "–"
                if pd.isna(row.permutation_p)
                else f"{p_value(row.permutation_p)} ({p_value(row.smallest_p)})"
            ),
            "d": "n/a" if pd.isna(row.d_z) else f"{row.d_z:.2f}",
        }
        for row in comparisons
    ]
    return pd.DataFrame(rows)


def gap_table(tests: pd.DataFrame, classes: Sequence[str]) -> pd.DataFrame:
    """Return as text the share of the gap in Dice that each arm closes, per age group and class."""
    part = tests[(tests["metric"] == "dice") & tests["abbreviation"].isin(classes)]
    comparisons: Iterable[Any] = part[part["gap"].notna()].itertuples(index=False)
    rows = [
        {
            "arm": row.first,
            "reference": row.second,
            "scans": row.age_group,
            "structure": row.abbreviation,
            "share closed": f"{row.gap:.2f}",
            "interval": interval(row.gap_low, row.gap_high, 2),
            "draws": f"{row.draws_first}/{row.draws_second}/{row.draws_full:.0f}",
            "subjects": str(row.subjects),
        }
        for row in comparisons
    ]
    return pd.DataFrame(rows)


def equality_table(tests: pd.DataFrame, classes: Sequence[str]) -> pd.DataFrame:
    """Return as text the tests of Dice against full supervision: not worse, and equal."""
    part = tests[tests["noninferior_p"].notna() & tests["abbreviation"].isin(classes)]
    comparisons: Iterable[Any] = part.itertuples(index=False)
    rows = [
        {
            "arm": row.first,
            "full": row.second,
            "scans": row.age_group,
            "structure": row.abbreviation,
            "difference": f"{row.difference:+.3f}",
            "interval": interval(row.low, row.high, 3),
            "compares": row.compares,
            "not worse": p_value(row.noninferior_holm),
            "equal": p_value(row.equivalent_holm),
        }
        for row in comparisons
    ]
    return pd.DataFrame(rows)


def interval(low: float, high: float, digits: int) -> str:
    """Return an interval such as "0.61 to 0.74", or "–" if an end is NaN."""
    if pd.isna(low) or pd.isna(high):
        return "–"
    return f"{low:.{digits}f} to {high:.{digits}f}"


def p_value(p: float) -> str:
    """Return a p-value such as ".032" or "< .001", or "–" for NaN."""
    if pd.isna(p):
        return "–"
    return "< .001" if p < 0.001 else f"{p:.3f}".removeprefix("0")
