"""W&B runs for tests: one that is not opened yet, and what became of one."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from recording_server import RecordedRun

from neoseg.tracking import METRICS
from neoseg.tracking.curves import CurveLogger
from neoseg.tracking.service import About
from neoseg.tracking.wandb_run import WandbRun, WandbSettings


@dataclass(frozen=True)
class Recorded:
    """A run folder, and its run as the server has it."""

    folder: Path
    run: RecordedRun
    files: dict[str, bytes]


def configured_run(folder: Path, mode: str = "offline") -> WandbRun:
    """Return the W&B run of a run folder, not yet opened."""
    about = About("a-draw0-seed0", "a", "sweep", ("tag",), {"seed": 0})
    curves = CurveLogger(folder / METRICS)
    return WandbRun(WandbSettings(mode=mode), folder, curves, about)
