"""A run folder belongs to one process (or one group of them) at a time."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from neoseg.findings.settings import ConfigError
from neoseg.locks import HeldError, locked
from neoseg.processes import is_first_process

log = logging.getLogger(__name__)

LOCK = ".lock"

_PATIENCE = 20.0
"""Seconds to wait for another process to end."""

RECORD = "run.json"
"""What the run was; there when it has ended."""


@contextmanager
def claimed(folder: Path) -> Iterator[None]:
    """Hold a run folder while the block runs; the system lets go of it when the process dies.

    It waits a little, such as for a job that was put back into the queue and is still ending.

    Raises:
        ConfigError: another process is at work in the folder.
    """
    if not is_first_process():  # the first one holds it for all
        yield
        return
    folder.mkdir(parents=True, exist_ok=True)
    with ExitStack() as held:
        try:
            held.enter_context(locked(folder / LOCK, _PATIENCE))
        except HeldError as lock:
            raise ConfigError(
                f"another process is training in {folder} (it holds {lock}); wait until it has "
                "ended, or end it first"
            ) from None
        yield


def is_claimed(folder: Path) -> bool:
    """Tell whether a process is at work in a run folder."""
    if not (folder / LOCK).exists():
        return False
    try:
        with locked(folder / LOCK, 0):
            return False
    except HeldError:
        return True
    except OSError:  # somebody else's run
        return False
