"""Read the files of a finished run that a report uses."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd

from neoseg.errors import NeosegError
from neoseg.evaluation.table import mean_dice, read_scores
from neoseg.foreign import read_json, value_at

CLOSE = 0.02
"""Tolerance between the mean Dice of a score table and that in `run.json`: the run may have been
scored again on another device or with other windows."""


class ReportError(NeosegError):
    """Raised if runs cannot be reported."""


def read_run(path: Path, config: dict[str, Any]) -> tuple[dict[str, Any], pd.DataFrame]:
    """Return `run.json` and the scores of a run with this configuration.

    Raises:
        ReportError, ValueError: if the files are damaged or do not belong together.
    """
    record = _record(path / "run.json")
    scores = read_scores(path / "scores.csv")
    _require_complete(scores, record, path)
    return record, _with_cohort(scores, config)


def _record(path: Path) -> dict[str, Any]:
    record = read_json(path, within=path.parent)
    if not isinstance(record, dict):
        raise ReportError(f"{path} holds {type(record).__name__}, expected an object")
    return record


def _require_complete(scores: pd.DataFrame, record: dict[str, Any], run: Path) -> None:
    """Raise `ReportError` if the scores do not match the row count and mean Dice in `run.json`."""
    recorded_mean, mean = record.get("test_dice"), mean_dice(scores)
    recorded_rows, rows = record.get("score_rows"), len(scores)
    mismatch = ""
    if (
        isinstance(recorded_rows, int) and recorded_rows != rows
    ):  # earlier versions did not record it
        mismatch = f"{rows} rows, and run.json tells {recorded_rows}"
    elif isinstance(recorded_mean, float) and not abs(recorded_mean - mean) <= CLOSE:
        mismatch = f"a mean Dice of {mean:.4f}, and run.json tells {recorded_mean:.4f}"
    if mismatch:
        raise ReportError(
            f"scores.csv has {mismatch}: the table was cut off or changed; restore it, or delete "
            f"run.json and go on with the run (resume={run}), which is then scored again"
        )


def _with_cohort(frame: pd.DataFrame, config: dict[str, Any]) -> pd.DataFrame:
    """Fill in the cohort in tables of earlier versions, whose scans are all of the first cohort."""
    if (frame["cohort"] == "").any():
        first = str(value_at(config, "cohort.name", ""))
        frame["cohort"] = frame["cohort"].replace("", first)
    return frame
