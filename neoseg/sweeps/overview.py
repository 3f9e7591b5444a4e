"""Tables of the jobs of a sweep, before it starts and after it has ended."""

from collections import Counter
from collections.abc import Sequence
from typing import get_args

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from neoseg.progress import duration
from neoseg.sweeps.jobs import Job, State, seconds_per_step


def dry_run_table(jobs: Sequence[Job], assumed: float | None) -> Table:
    """Return a table of the jobs with state, steps and estimated time, and their sums.

    `assumed` is the time per step in seconds for arms without a finished job; None leaves their
    time unknown.
    """
    measured = seconds_per_step(jobs)
    table = Table("job", "arm", "state", "steps", "time left", "devices", show_footer=True)
    left = device_seconds = 0.0
    unknown = 0
    for job in jobs:
        done, steps = job.steps_done, job.steps
        rate = measured.get(job.arm, assumed)
        seconds: float | None = 0.0
        if not job.ended:
            seconds = None if rate is None or not job.planned else max(steps - done, 0) * rate
        if seconds is None:
            unknown += 1
        else:
            left += seconds
            device_seconds += seconds * job.devices
        table.add_row(
            escape(job.folder.name),
            escape(job.arm),
            job.state,
            (f"{done} of {steps}" if done else str(steps)) if job.planned else "by its plan",
            "unknown" if seconds is None else duration(seconds),
            str(job.devices),
        )
    states = Counter(job.state for job in jobs)
    counts = ", ".join(f"{states[s]} {s}" for s in get_args(State) if states[s])
    suffix = f" and {unknown} unknown" if unknown else ""
    footers = (
        *(f"{len(jobs)} jobs", "", counts, str(sum(job.steps for job in jobs))),
        *(duration(left) + suffix, f"{duration(device_seconds)} of a device{suffix}"),
    )
    for column, footer in zip(table.columns, footers, strict=True):
        column.footer = footer
    return table


def results_table(jobs: Sequence[Job]) -> Table:
    """Return a table of the jobs that have not ended, with their folder and the reason."""
    table = Table("job", "state", "why")
    for job in jobs:
        if not job.ended:
            table.add_row(escape(job.folder.name), job.state, escape(job.reason))
    return table


def wide_console() -> Console:
    """Return a console that does not truncate lines if the output is not a terminal."""
    console = Console()
    return console if console.is_terminal else Console(width=200)
