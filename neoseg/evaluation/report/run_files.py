"""The files of a finished run, as far as a report reads them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd

from neoseg.errors import NeosegError
from neoseg.evaluation.table import mean_dice, read_scores
from neoseg.foreign import read_json, value_at

CLOSE = 0.02
"""Mean Dice by which a table may differ from what its run has kept: another device or other windows
may have scored it again."""


class ReportError(NeosegError):
    """Runs that cannot be reported."""


def read_run(path: Path, config: dict[str, Any]) -> tuple[dict[str, Any], pd.DataFrame]:
    """Return `run.json` and the scores of a run with this configuration.

    Raises:
        ReportError, ValueError: files that are damaged, or not of one run.
    """
    record = _record(path / "run.json")
    scores = read_scores(path / "scores.csv")
    _require_whole(scores, record, path)
    return record, _with_cohort(scores, config)


def _record(path: Path) -> dict[str, Any]:
    record = read_json(path, within=path.parent)
    if not isinstance(record, dict):
        raise ReportError(f"{path} holds {type(record).__name__}, expected an object")
    return record


def _require_whole(scores: pd.DataFrame, record: dict[str, Any], run: Path) -> None:
    """Raise for scores that are not those of which the run has kept number and mean."""
    told, found = record.get("test_dice"), mean_dice(scores)
    rows, there = record.get("score_rows"), len(scores)
    how = ""
    if isinstance(rows, int) and rows != there:  # of runs of earlier versions it is not known
        how = f"{there} rows, and run.json tells {rows}"
    elif isinstance(told, float) and not abs(told - found) <= CLOSE:
        how = f"a mean Dice of {found:.4f}, and run.json tells {told:.4f}"
    if how:
        raise ReportError(
            f"scores.csv has {how}: the table was cut off or changed; restore it, or delete "
            f"run.json and go on with the run (resume={run}), which is then scored again"
        )


def _with_cohort(frame: pd.DataFrame, config: dict[str, Any]) -> pd.DataFrame:
    """Name the cohort in a table of an earlier version, in which all scans were of the first."""
    if (frame["cohort"] == "").any():
        first = str(value_at(config, "cohort.name", ""))
        frame["cohort"] = frame["cohort"].replace("", first)
    return frame
