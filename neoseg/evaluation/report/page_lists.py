"""What the HTML page knows: arms, scores, comparisons, runs, cases and figures as plain data."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from neoseg.evaluation.report.arms import MEANS
from neoseg.evaluation.report.cases import Case, case_picture, case_title, case_views
from neoseg.evaluation.report.layout import DIGITS, HIGHER_IS_BETTER, TITLES
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
from neoseg.evaluation.table import METRICS

_CELL = ("mean", "std", "low", "high", "median", "scans", "subjects", "draws")
_CELL_COUNTS = ("misses", "inventions")
_TESTS = ("dice", "nsd", "hd95")
_MOST_TESTS = 20_000
_DIGITS = 6


def arm_entries(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """Return the arms with their colour and hatch; elsewhere an arm is its place in this list."""
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
    groups = [g for g in ("preterm", "term", "all") if g in set(summary["age_group"])]
    cells: dict[str, Any] = {
        m: {g: [[None] * len(arms) for _ in names] for g in groups} for m in metrics
    }
    place = {name: number for number, name in enumerate(names)}
    column = {arm: number for number, arm in enumerate(arms)}
    for row in summary.to_dict("records"):
        values = [rounded(row[name]) for name in _CELL] + [int(row[n]) for n in _CELL_COUNTS]
        group = cells[row["metric"]][row["age_group"]]
        group[place[row["abbreviation"]]][column[row["arm"]]] = values
    return {
        "metrics": [
            {
                "key": m,
                "title": TITLES[m],
                "digits": DIGITS[m],
                "better": {True: 1, False: -1, None: 0}[HIGHER_IS_BETTER.get(m)],
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
    """Return the comparisons of the main scores; of Dice alone where there are very many."""
    part = tests[tests["metric"].isin(_TESTS)]
    if len(part) > _MOST_TESTS:
        part = part[part["metric"] == "dice"].head(_MOST_TESTS)
    arm_place = {arm: number for number, arm in enumerate(arms)}
    class_place = {name: number for number, name in enumerate(classes)}
    return [
        {
            "first": arm_place[row["first"]],
            "second": arm_place[row["second"]],
            "group": row["age_group"],
            "metric": row["metric"],
            "structure": class_place[row["abbreviation"]],
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
    """Return `cases` and `scans` of the viewer, and the titles of the cases that did not fit.

    Cases that show the same runs on the same scan share an entry of `scans`. A run without views
    is shown by the picture that it drew.

    Args:
        cases: in the order of their importance.
        runs: by name.
        arms: their order in the page.
        slices: at most so many along an axis.
        limit: of all pictures together, bytes.
    """
    place = {arm: number for number, arm in enumerate(arms)}
    scans: list[dict[str, Any]] = []
    known: dict[tuple[Any, ...], int] = {}
    listed, left_out, used = [], [], 0
    for case in cases:
        key = (case.scan, *sorted((arm, shown.run) for arm, shown in case.shown.items()))
        if key not in known:
            entry = _scan_entry(case, runs, place, slices)
            size = _size(entry)
            if not entry["arms"] or used + size > limit:
                left_out.append(case_title(case))
                continue
            used += size
            known[key] = len(scans)
            scans.append(entry)
        run = case.shown[case.arm].run
        note = f"Of all scans and draws of {case.arm}, by the mean Dice over structures; {run}."
        listed.append({"title": case_title(case), "scan": known[key], "note": note})
    return {"cases": listed, "scans": scans}, left_out


def _scan_entry(
    case: Case, runs: Mapping[str, FinishedRun], place: Mapping[str, int], slices: int
) -> dict[str, Any]:
    views = case_views(case, runs)
    about = {arm: {"run": s.run, "dice": rounded(s.dice)} for arm, s in case.shown.items()}
    if not views:
        pictures = {arm: case_picture(case, arm, runs) for arm in case.shown}
        drawn = {
            place[arm]: about[arm] | {"picture": data_uri(picture)}
            for arm, picture in pictures.items()
            if picture is not None
        }
        return {"planes": None, "arms": drawn}
    first = next(iter(views.values()))
    places = positions(first, slices)
    return {
        "planes": planes_of(first, places),
        "image": grey_strips(first, places),
        "truth": label_strips(first, "truth", places),
        "colours": used_colours(views),
        "arms": {
            place[arm]: about[arm]
            | {layer: label_strips(view, layer, places) for layer in ("prediction", "wrong")}
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
    """Return a number with six decimals, None for NaN; whole numbers stay whole."""
    if value is None or not math.isfinite(value):
        return None
    number = round(float(value), _DIGITS)
    return int(number) if number == int(number) else number
