"""Show progress and time left for long work outside the training loop: bars, or log lines."""

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from neoseg.processes import is_first_process

log = logging.getLogger(__name__)

MIN_INTERVAL = 10.0
"""Seconds between two log lines without a terminal; longer when the work takes long."""


def duration(seconds: float) -> str:
    """Format a duration with a unit of suitable size."""
    minutes = round(seconds / 60)
    if seconds < 90:
        return f"{seconds:.0f} s"
    if minutes < 90:
        return f"{minutes} min"
    return f"{minutes / 60:.1f} h"


class Lines:
    """Progress without a terminal: log lines at the start, at intervals, and at the end."""

    def __init__(self, title: str, total: int | None) -> None:
        self._title, self._total, self._done = title, total, 0
        self._start = self._last_logged = time.monotonic()
        if total:
            self._log("")

    def advance(self, what: str = "") -> None:
        """Count one finished item."""
        self.update_to(self._done + 1, self._total or 0)

    def update_to(self, done: int, total: int) -> None:
        """Set the number of finished items and the total."""
        self._done, self._total = done, total
        now = time.monotonic()
        elapsed = now - self._start
        if done >= total or now - self._last_logged >= max(MIN_INTERVAL, elapsed / 10):
            self._last_logged = now
            remaining = elapsed / done * (total - done) if done else 0.0
            self._log(f", {timedelta(seconds=round(remaining))} left" if done < total else ", done")

    def _log(self, suffix: str) -> None:
        if is_first_process():
            log.info("%s: %d of %d%s", self._title, self._done, self._total or 0, suffix)


class Bar:
    """A progress bar on a terminal."""

    def __init__(self, progress: Progress, task: TaskID) -> None:
        self._progress = progress
        self._task = task

    def advance(self, what: str = "") -> None:
        """Count one finished item; show `what` beside the bar."""
        self._progress.update(self._task, advance=1, what=what)

    def update_to(self, done: int, total: int) -> None:
        """Set the number of finished items and the total."""
        self._progress.update(self._task, completed=done, total=total, visible=True)


@contextmanager
def progress_bar(title: str, total: int | None = None) -> Iterator[Bar | Lines]:
    """Show progress while the block runs; without `total` a bar appears at the first update."""
    if not Console().is_terminal:
        yield Lines(title, total)
        return
    columns = (
        TextColumn("{task.description:>8}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        TextColumn("{task.fields[what]}", markup=False),
    )
    with Progress(*columns) as progress:
        task = progress.add_task(title, total=total, what="", visible=total is not None)
        yield Bar(progress, task)
