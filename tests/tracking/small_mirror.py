"""Mirrors for tests: one that is not opened yet, and what became of one."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from recording_server import RecordedRun

from neoseg.training.curves import METRICS, CurveLogger
from neoseg.training.wandb_run import About, WandbMirror, WandbSettings


@dataclass(frozen=True)
class Mirrored:
    """A run folder, and its run as the server has it."""

    folder: Path
    run: RecordedRun
    files: dict[str, bytes]


def configured_mirror(folder: Path, mode: str = "offline") -> WandbMirror:
    """Return a mirror of a run in a folder, not yet opened."""
    about = About("a-draw0-seed0", "a", "sweep", ("tag",), {"seed": 0})
    curves = CurveLogger(folder / METRICS)
    return WandbMirror(WandbSettings(mode=mode), folder, curves, about)
