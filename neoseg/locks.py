"""What one process at a time may change, also on file systems that know no locks."""

from __future__ import annotations

import errno
import logging
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path

from filelock import BaseFileLock, FileLock, SoftFileLock, Timeout

log = logging.getLogger(__name__)

PATIENCE = 60.0
"""Seconds after which somebody who waits is told for what."""

_NO_LOCKS = {errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOTSUP, errno.EINVAL}


class HeldError(Exception):
    """Another process holds a lock; the message names the file that says so."""


@contextmanager
def locked(path: Path, seconds: float | None = None) -> Iterator[None]:
    """Hold the lock `path` while the block runs; the system lets go of it when the process dies.

    Where the file system has no locks (NFS without lockd, some Lustre and FUSE mounts) a file
    beside it stands for one, `<path>-held`. The next process removes that of a dead one, if both
    ran on one machine.

    Args:
        path: the file to lock, in a folder that is there.
        seconds: to wait for a process that holds it; None is until it lets go.

    Raises:
        HeldError: another process still holds it.
        OSError: a place that cannot be written.
    """
    try:
        lock = _acquired(FileLock(path), seconds)
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise
        _tell(next(p for p in path.resolve().parents if p.is_mount()), error.strerror or "")
        lock = _acquired(SoftFileLock(path.with_name(f"{path.name}-held")), seconds)
    try:
        yield
    finally:
        with suppress(OSError):  # it ends with the process, and what the block did stays done
            lock.release()


def _acquired(lock: BaseFileLock, seconds: float | None) -> BaseFileLock:
    try:
        lock.acquire(timeout=PATIENCE if seconds is None else seconds)
    except Timeout:
        if seconds is not None:
            raise HeldError(lock.lock_file) from None
        log.warning("waiting for another process, which holds %s", lock.lock_file)
        lock.acquire()
    return lock


@cache
def _tell(mount: Path, why: str) -> None:
    log.warning(
        "the file system %s has no locks (%s): files called *-held stand for them. One that a "
        "process on another machine leaves when it is killed has to be deleted by hand",
        mount,
        why,
    )
