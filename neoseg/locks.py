"""Locks between processes, with a fallback for file systems without locking."""

import errno
import logging
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path

from filelock import BaseFileLock, FileLock, SoftFileLock, Timeout

log = logging.getLogger(__name__)

PATIENCE = 60.0
"""Seconds to wait for a lock before a warning is logged."""

_NO_LOCKS = {errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOTSUP, errno.EINVAL}


class HeldError(Exception):
    """Another process holds a lock; the message is the path of the lock file."""


@contextmanager
def locked(path: Path, seconds: float | None = None) -> Iterator[None]:
    """Hold the lock `path` while the block runs; the system releases it when the process dies.

    If the file system has no locks (NFS without lockd, some Lustre and FUSE mounts), the file
    `<path>-held` serves as the lock. If its process has died, the next process on the same machine
    removes it.

    Args:
        path: the file to lock, in an existing folder.
        seconds: how long to wait for another holder; None waits until it is released.

    Raises:
        HeldError: another process still holds the lock.
        OSError: the path cannot be written.
    """
    try:
        lock = _acquire(FileLock(path), seconds)
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise
        _warn_no_locks(
            next(p for p in path.resolve().parents if p.is_mount()), error.strerror or ""
        )
        lock = _acquire(SoftFileLock(path.with_name(f"{path.name}-held")), seconds)
    try:
        yield
    finally:
        # The lock ends with the process anyway, and the block has done its work.
        with suppress(OSError):
            lock.release()


def _acquire(lock: BaseFileLock, seconds: float | None) -> BaseFileLock:
    try:
        lock.acquire(timeout=PATIENCE if seconds is None else seconds)
    except Timeout:
        if seconds is not None:
            raise HeldError(lock.lock_file) from None
        log.warning("waiting for another process, which holds %s", lock.lock_file)
        lock.acquire()
    return lock


@cache
def _warn_no_locks(mount: Path, why: str) -> None:
    log.warning(
        "the file system %s has no locks (%s): files called *-held stand for them. One that a "
        "process on another machine leaves when it is killed has to be deleted by hand",
        mount,
        why,
    )
