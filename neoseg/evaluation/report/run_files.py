"""The files of a finished run, as far as a report reads them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from neoseg.errors import NeosegError
from neoseg.evaluation.table import mean_dice, read_scores
from neoseg.foreign import json_of, read_json, read_text, value_at
from neoseg.foreign.files import LARGEST_TABLE

IMAGES, TEST = "images.json", "test"
"""What a run keeps of its images, and the part of the split with which it was tested."""

CLOSE = 0.02
"""Mean Dice by which a table may differ from what its run has kept: another device or other windows
may have scored it again."""


class ReportError(NeosegError):
    """Runs that cannot be reported."""


@dataclass(frozen=True)
class FinishedRun:
    """A run of the report: its folder, its name in the tables, and `run.json`."""

    path: Path
    name: str
    record: dict[str, Any]


def read_run(path: Path, config: dict[str, Any]) -> tuple[dict[str, Any], pd.DataFrame]:
    """Return `run.json` and the scores of a run with this configuration.

    Raises:
        ReportError, ValueError: files that are damaged, or not of one run.
    """
    record = _record(path / "run.json")
    scores = read_scores(path / "scores.csv")
    _require_whole(scores, record, path)
    return record, _with_cohort(scores, config)


def images_of(run: Path) -> dict[str, dict[str, str]]:
    """Return cohort -> scan -> digest of the images with which a run was tested, if it has them."""
    try:
        text = read_text(run / IMAGES, LARGEST_TABLE, run)
        content = json_of(text, str(run / IMAGES))
        return {
            cohort: {scan: str(digest) for scan, (part, digest, _) in scans.items() if part == TEST}
            for cohort, scans in content.items()
        }
    except (ValueError, AttributeError, TypeError):
        return {}


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
