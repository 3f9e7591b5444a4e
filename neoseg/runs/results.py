"""Results of a finished run sent to W&B and MLflow: summary values, scores and the run card."""

import html
import json
import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pandas as pd
from lightning.pytorch.loggers import Logger

from neoseg.evaluation.card import CARD
from neoseg.evaluation.table import read_scores
from neoseg.tracking.loggers import runs_of

COSTS = ("seconds", "peak_memory_gib", "peak_gpu_memory_gib")


def send_results(loggers: Iterable[Logger], folder: Path) -> None:
    """Send scores and card of the run in a folder to the services among its loggers."""
    runs = runs_of(loggers)
    if not runs:
        return
    card = json.loads((folder / f"{CARD}.json").read_text(encoding="utf-8"))
    text = (folder / f"{CARD}.md").read_text(encoding="utf-8")
    path = folder / "scores.csv"
    scores = read_scores(path) if path.is_file() else None
    files = [folder / f"{CARD}.json", folder / f"{CARD}.md"]
    page = f"<pre style='white-space: pre-wrap'>{html.escape(text)}</pre>"
    values = summary_values(card, scores)
    for run in runs:
        run.log_results(values, scores, page, files)


def summary_values(card: dict[str, Any], scores: pd.DataFrame | None) -> dict[str, Any]:
    """Return the values by which runs are compared; values that do not apply are left out.

    `test/dice` is the mean over leaves, `test/dice_hidden` and `test/dice_visible` those over the
    leaves that the annotation of partially labelled scans hides and shows, `test/dice/<class>` that
    of each class. `test/full_fraction`, the fraction of fully labelled scans, is their x-axis.
    """
    cost, training, data = card["cost"], card["training"], card["data"]
    values = {f"cost/{name}": cost[name] for name in COSTS}
    values |= {f"cost/joules_{kind}": joules for kind, joules in cost["energy_joules"].items()}
    values |= {"parameters": training["parameters"], "test/full_fraction": data["full_fraction"]}
    if scores is not None and len(scores):
        leaves = scores[scores["is_leaf"]]
        values["test/dice"] = _mean(leaves, "dice")
        values["test/dice_hidden"] = _mean(leaves[leaves["hidden"]], "dice")
        values["test/dice_visible"] = _mean(leaves[~leaves["hidden"]], "dice")
        values["test/missed"] = int(scores["missed"].sum())
        for name, rows in scores.groupby("abbreviation", sort=False):
            values[f"test/dice/{name}"] = rows["dice"].mean()
            values[f"test/hd95/{name}"] = rows["hd95"].mean()
    numbers = {name: value for name, value in values.items() if isinstance(value, int | float)}
    finite = {name: value for name, value in numbers.items() if math.isfinite(value)}
    return finite | {"limits_of_use": "\n".join(card["limits"])}


def _mean(rows: pd.DataFrame, metric: str) -> float:
    """Return the mean over structures of their means over scans."""
    return float(rows.groupby("abbreviation")[metric].mean().mean())
