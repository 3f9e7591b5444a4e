"""Convert arms, scores, comparisons and cases to the plain data of the HTML page."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from neoseg.evaluation.metrics import METRICS
from neoseg.evaluation.report.arms import MEANS, ages_in
from neoseg.evaluation.report.cases import Case, case_picture, case_title, case_views
from neoseg.evaluation.report.run_files import FinishedRun
from neoseg.evaluation.report.sprites import (
    data_uri,
    grey_strips,
    label_strips,
    planes_of,
    positions,
    used_colours,
)
from neoseg.evaluation.report.style import arm_styles

_CELL = ("mean", "std", "low", "high", "median", "scans", "subjects", "draws")
_CELL_COUNTS = ("misses", "inventions")
_TESTS = ("dice", "nsd", "hd95")
_MAX_TESTS = 20_000
_DIGITS = 6


def arm_entries(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """Return the arms with colour and hatch; elsewhere arms are indices into this list."""
    styles = arm_styles(frame)
    experiments = list(dict.fromkeys(frame.sort_values("experiment")["experiment"]))
    by_arm = frame.drop_duplicates("arm").set_index("arm")
    return [
        {
            "name": arm,
            "colour": style.colour,
            "hatch": experiments.index(by_arm.loc[arm, "experiment"]) % 8,
        }
        for arm, style in styles.items()
    ]


def score_entries(summary: pd.DataFrame, arms: Sequence[str]) -> dict[str, Any]:
    """Return metrics, age groups, classes, and `cells[metric][group][class][arm]`."""
    classes = summary.drop_duplicates("abbreviation")
    names = list(classes["abbreviation"])
    metrics = [m for m in METRICS if m in set(summary["metric"])]
    groups = ages_in(summary)
    cells: dict[str, Any] = {
        m: {g: [[None] * len(arms) for _ in names] for g in groups} for m in metrics
    }
    row_of = {name: number for number, name in enumerate(names)}
    column_of = {arm: number for number, arm in enumerate(arms)}
    for row in summary.to_dict("records"):
        values = [rounded(row[name]) for name in _CELL] + [int(row[n]) for n in _CELL_COUNTS]
        group = cells[row["metric"]][row["age_group"]]
        group[row_of[row["abbreviation"]]][column_of[row["arm"]]] = values
    return {
        "metrics": [
            {
                "key": m,
                "title": METRICS[m].title,
                "digits": METRICS[m].digits,
                "better": METRICS[m].better,
            }
            for m in metrics
        ],
        "groups": groups,
        "classes": [
            {
                "name": row["class"],
                "abbreviation": row["abbreviation"],
                "hidden": bool(row["hidden"]),
                "mean": row["abbreviation"] in MEANS,
            }
            for row in classes.to_dict("records")
        ],
        "cells": cells,
    }


def comparison_entries(
    tests: pd.DataFrame, arms: Sequence[str], classes: Sequence[str]
) -> list[dict[str, Any]]:
    """Return the comparisons of the main scores; only of Dice if there are more than 20,000."""
    part = tests[tests["metric"].isin(_TESTS)]
    if len(part) > _MAX_TESTS:
        part = part[part["metric"] == "dice"].head(_MAX_TESTS)
    arm_index = {arm: number for number, arm in enumerate(arms)}
    class_index = {name: number for number, name in enumerate(classes)}
    return [
        {
            "first": arm_index[row["first"]],
            "second": arm_index[row["second"]],
            "group": row["age_group"],
            "metric": row["metric"],
            "structure": class_index[row["abbreviation"]],
            "difference": rounded(row["difference"]),
            "low": rounded(row["low"]),
            "high": rounded(row["high"]),
            "scans": int(row["scans"]),
            "subjects": int(row["subjects"]),
            "family": row["family"],
            "compares": row["compares"],
            "draws": f"{row['draws_first']}/{row['draws_second']}",
            "p": rounded(row["p"]),
            "holm": rounded(row["holm"]),
            "permutation": rounded(row["permutation_p"]),
            "smallest": rounded(row["smallest_p"]),
            "d": rounded(row["d_z"]),
            "gap": [rounded(row[name]) for name in ("gap", "gap_low", "gap_high")],
            "equal": [rounded(row[f"{name}_holm"]) for name in ("noninferior", "equivalent")],
        }
        for row in part.to_dict("records")
    ]


def case_entries(
    cases: Sequence[Case],
    runs: Mapping[str, FinishedRun],
    arms: Sequence[str],
    slices: int,
    limit: int,
) -> tuple[dict[str, Any], list[str]]:
    """Return `cases` and `scans` of the viewer, and the titles of the cases that were left out.

    Cases that show the same runs on the same scan share an entry of `scans`. If no run has a view,
    the pictures that the runs drew are used. Cases without pictures, or beyond the limit, are left
    out.

    Args:
        cases: in order of importance.
        runs: the finished runs by name.
        arms: names of the arms in the order of the page.
        slices: maximum number of slices along an axis.
        limit: maximum size of all pictures together, bytes.
    """
    arm_index = {arm: number for number, arm in enumerate(arms)}
    scans: list[dict[str, Any]] = []
    scan_index: dict[tuple[Any, ...], int] = {}
    listed, left_out, used = [], [], 0
    for case in cases:
        key = (case.scan, *sorted((arm, shown.run) for arm, shown in case.shown.items()))
        if key not in scan_index:
            entry = _scan_entry(case, runs, arm_index, slices)
            size = _size(entry)
            if not entry["arms"] or used + size > limit:
                left_out.append(case_title(case))
                continue
            used += size
            scan_index[key] = len(scans)
            scans.append(entry)
        run = case.shown[case.arm].run
        note = f"Of all scans and draws of {case.arm}, by the mean Dice over structures; {run}."
        listed.append({"title": case_title(case), "scan": scan_index[key], "note": note})
    return {"cases": listed, "scans": scans}, left_out


def _scan_entry(
    case: Case, runs: Mapping[str, FinishedRun], arm_index: Mapping[str, int], slices: int
) -> dict[str, Any]:
    views = case_views(case, runs)
    about = {arm: {"run": s.run, "dice": rounded(s.dice)} for arm, s in case.shown.items()}
    if not views:
        pictures = {arm: case_picture(case, arm, runs) for arm in case.shown}
        drawn = {
            arm_index[arm]: about[arm] | {"picture": data_uri(picture)}
            for arm, picture in pictures.items()
            if picture is not None
        }
        return {"planes": None, "arms": drawn}
    first = next(iter(views.values()))
    slice_positions = positions(first, slices)
    return {
        "planes": planes_of(first, slice_positions),
        "image": grey_strips(first, slice_positions),
        "truth": label_strips(first, "truth", slice_positions),
        "colours": used_colours(views),
        "arms": {
            arm_index[arm]: about[arm]
            | {
                layer: label_strips(view, layer, slice_positions)
                for layer in ("prediction", "wrong")
            }
            for arm, view in views.items()
        },
    }


def _size(node: Any) -> int:
    if isinstance(node, dict):
        return sum(map(_size, node.values()))
    if isinstance(node, list):
        return sum(map(_size, node))
    return len(node) if isinstance(node, str) else 0


def rounded(value: Any) -> float | None:
    """Round to six decimals; NaN and infinity become None, and whole numbers int."""
    if value is None or not math.isfinite(value):
        return None
    number = round(float(value), _DIGITS)
    return int(number) if number == int(number) else number
