"""Progress bars with the time left, for long work outside the training loop."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)


class Bar:
    """One line of progress."""

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
def progress_bar(title: str, total: int | None = None) -> Iterator[Bar]:
    """Show a bar while the block runs; without `total` it appears with the first update."""
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
