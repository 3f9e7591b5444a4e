"""Read the files of a finished run that a report uses."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from pydantic import BaseModel, ConfigDict, ValidationError

from neoseg.errors import NeosegError
from neoseg.evaluation.table import mean_dice, read_scores
from neoseg.foreign import json_of, read_json, read_text, value_at
from neoseg.foreign.files import LARGEST_TABLE

IMAGES, TEST = "images.json", "test"
"""What a run keeps of its images, and the part of the split with which it was tested."""

CLOSE = 0.02
"""Tolerance between the mean Dice of a score table and that in `run.json`: the run may have been
scored again on another device or with other windows."""


class ReportError(NeosegError):
    """Raised if runs cannot be reported."""


@dataclass(frozen=True)
class FinishedRun:
    """A run of the report: its folder, its name in the tables, and `run.json`."""

    path: Path
    name: str
    record: dict[str, Any]


def read_run(path: Path, config: dict[str, Any]) -> tuple[dict[str, Any], pd.DataFrame]:
    """Return `run.json` and the scores of a run with this configuration.

    Raises:
        ReportError, ValueError: if the files are damaged or do not belong together.
    """
    record = _record(path / "run.json")
    scores = read_scores(path / "scores.csv")
    _require_complete(scores, record, path)
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
    try:
        _Record.model_validate(record)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(map(str, first["loc"]))
        raise ReportError(f"{path}: {key}: {first['msg']}") from None
    return record


class _Record(BaseModel):
    """Types of the values of `run.json` that a report shows; any may be missing."""

    model_config = ConfigDict(strict=True)

    test_dice: float | None = None
    score_rows: int | None = None
    steps: int | None = None
    seconds: float | None = None
    data_wait_share: float | None = None
    step_seconds: float | None = None
    peak_memory_gib: float | None = None
    peak_gpu_memory_gib: float | None = None
    parameters: int | None = None
    energy_joules: dict[str, float | None] | None = None
    device: str | None = None
    data: str | None = None
    predict_with: str | None = None
    checkpoint: str | None = None
    command: str | None = None
    versions: dict[str, str | None] | None = None
    init: dict[str, str | float | None] | None = None
    changes: list[str] | None = None
    annotation: dict[str, Any] | None = None


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
