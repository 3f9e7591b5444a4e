"""Progress with the time left, for long work outside the training loop: bars, or plain lines."""

from __future__ import annotations

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

PAUSE = 10.0
"""Seconds from one line to the next, where no terminal shows a bar; longer in long work."""


class Lines:
    """Progress without a terminal: a line at the beginning, some on the way, one at the end."""

    def __init__(self, title: str, total: int | None) -> None:
        self._title, self._total, self._done = title, total, 0
        self._begin = self._said = time.monotonic()
        if total:
            self._say("")

    def advance(self, what: str = "") -> None:
        """Count one piece of work."""
        self.update_to(self._done + 1, self._total or 0)

    def update_to(self, done: int, total: int) -> None:
        """Set how much is done and how much there is."""
        self._done, self._total = done, total
        now = time.monotonic()
        spent = now - self._begin
        if done >= total or now - self._said >= max(PAUSE, spent / 10):
            self._said = now
            left = spent / done * (total - done) if done else 0.0
            self._say(f", {timedelta(seconds=round(left))} left" if done < total else ", done")

    def _say(self, more: str) -> None:
        if is_first_process():
            log.info("%s: %d of %d%s", self._title, self._done, self._total or 0, more)


class Bar:
    """One line of progress on a terminal."""

    def __init__(self, progress: Progress, task: TaskID) -> None:
        self._progress = progress
        self._task = task

    def advance(self, what: str = "") -> None:
        """Count one piece of work, shown beside the bar."""
        self._progress.update(self._task, advance=1, what=what)

    def update_to(self, done: int, total: int) -> None:
        """Set how much is done and how much there is."""
        self._progress.update(self._task, completed=done, total=total, visible=True)


@contextmanager
def progress_bar(title: str, total: int | None = None) -> Iterator[Bar | Lines]:
    """Show progress while the block runs; without `total` it appears with the first update."""
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
