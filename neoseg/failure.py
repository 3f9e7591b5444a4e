"""Record why a run failed in `failed.json` in its folder, until the run is started again."""

import os
import socket
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from neoseg.files import write_json
from neoseg.foreign import read_json
from neoseg.processes import is_first_process

FAILED = "failed.json"


@contextmanager
def failure_noted(folder: Path) -> Iterator[None]:
    """Clear an earlier failure of the run in `folder`, and record an error raised in the block.

    Interruptions (Ctrl-C, SIGTERM, a requeued job) do not count as failures.
    """
    if is_first_process():
        forget_failure(folder)
    try:
        yield
    except Exception as error:
        text = str(error).strip()
        reason = f"{type(error).__name__}: {text}" if text else type(error).__name__
        note_failure(folder, reason, traceback.format_exc())
        raise


def note_failure(folder: Path, reason: str, details: str = "") -> None:
    """Record why a run failed; of several processes, the first to record a reason wins.

    Args:
        folder: folder of the run.
        reason: reason; its first line is shown in lists.
        details: more details, such as a traceback.
    """
    path = folder / FAILED
    if path.is_file():
        return
    record = {
        "reason": reason,
        "host": socket.gethostname(),
        "time": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "details": details,
    }
    write_json(path, record, indent=1)


def forget_failure(folder: Path) -> None:
    """Remove the failure record of an earlier start of a run."""
    (folder / FAILED).unlink(missing_ok=True)


def failure_of(folder: Path) -> str | None:
    """Return in one line why the run in `folder` failed, or None if no failure is recorded."""
    if not os.path.lexists(folder / FAILED):
        return None
    try:
        reason = read_json(folder / FAILED, within=folder)["reason"]
    except (ValueError, KeyError, TypeError):
        return f"{FAILED} cannot be read"
    lines = str(reason).strip().splitlines()
    return lines[0] if lines else "no reason given"
