"""Lock of a run folder, which belongs to one process (or one group of them) at a time."""

import logging
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from neoseg.findings.settings import ConfigError
from neoseg.locks import HeldError, locked
from neoseg.processes import is_first_process

log = logging.getLogger(__name__)

LOCK = ".lock"

_LOCK_TIMEOUT = 20.0
"""Seconds to wait for another process to release the lock."""

RECORD = "run.json"
"""Record of a finished run; absent until the run has ended."""

INIT = "init.json"
"""In the folder of a run that started from another network: what came from where."""


@contextmanager
def claimed(folder: Path) -> Iterator[None]:
    """Lock a run folder while the block runs; the operating system unlocks it if the process dies.

    Waits a little for the lock, for example for a requeued job that is still ending.

    Raises:
        ConfigError: another process is using the folder.
    """
    if not is_first_process():  # the first process holds it for all
        yield
        return
    folder.mkdir(parents=True, exist_ok=True)
    with ExitStack() as held:
        try:
            held.enter_context(locked(folder / LOCK, _LOCK_TIMEOUT))
        except HeldError as lock:
            raise ConfigError(
                f"another process is working in {folder} (it holds {lock}); wait until it has "
                "ended, or end it first"
            ) from None
        yield


def is_claimed(folder: Path) -> bool:
    """Return whether a process is using a run folder."""
    if not (folder / LOCK).exists():
        return False
    try:
        with locked(folder / LOCK, 0):
            return False
    except HeldError:
        return True
    except OSError:  # another user's run
        return False
