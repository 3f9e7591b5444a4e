"""Work shared among processes that end with the one that started them."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import connection, parent_process
from pathlib import Path
from typing import TypeVar

from neoseg.data.nifti import DataError
from neoseg.processes import LIGHT_SPAWN, leave_warnings

Item = TypeVar("Item")
Result = TypeVar("Result")

MEMORY = 2 << 30
"""Bytes that the preparation of one large scan may need."""

WORTH = 64 << 20
"""Bytes of packed input that are worth the start of a process, which takes some seconds."""


def count_processes(wanted: int | None, sizes: Sequence[int]) -> int:
    """Return how many processes to start for files of these sizes (bytes), one per piece of work.

    Unless `wanted` says so: the cores that this process may use, as far as memory suffices and the
    work is worth it.
    """
    if wanted is not None:
        return max(1, min(wanted, len(sizes)))
    limits = (len(sizes), usable_cores(), free_memory() // MEMORY, -(-sum(sizes) // WORTH))
    return max(1, min(limits))


def usable_cores() -> int:
    """Return the cores that this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def free_memory() -> int:
    """Return the bytes that are available now, within the limit of a cluster's job."""
    found = [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")]
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
        found += [int(line.split()[1]) << 10 for line in lines if line.startswith("MemAvailable")]
        group = Path("/sys/fs/cgroup")
        limit = (group / "memory.max").read_text(encoding="ascii").strip()
        if limit.isdigit():
            used = (group / "memory.current").read_text(encoding="ascii")
            found.append(max(0, int(limit) - int(used)))
    except (OSError, ValueError, IndexError):
        pass  # another system: the physical memory has to do
    return min(found)


def work_through(
    function: Callable[[Item], Result], items: Sequence[Item], processes: int
) -> Iterator[tuple[int, Result]]:
    """Yield (number, result) of every item as it is done.

    With one process in this one, in order. `function` and `items` must travel by pickle, and must
    not be defined in the main module. An interruption ends the processes at once, wherever they
    are: what they write must be whole or absent.

    Raises:
        DataError: a process that was killed from outside.
    """
    if processes == 1:
        for number, item in enumerate(items):
            yield number, function(item)
        return
    pool = ProcessPoolExecutor(processes, mp_context=LIGHT_SPAWN, initializer=_begin)
    running = {}
    rest = iter(enumerate(items))
    try:
        while True:
            # Few are handed out at a time, so that an interruption leaves little to wait for.
            for number, item in rest:
                running[pool.submit(function, item)] = number
                if len(running) > processes:
                    break
            if not running:
                return
            done, _ = wait(running, return_when=FIRST_COMPLETED)
            for future in done:
                yield running.pop(future), future.result()
    except BrokenProcessPool:
        raise DataError(
            f"one of {processes} processes that prepared scans was killed, perhaps for want of "
            "memory; what is done is kept: start again with fewer, such as "
            f"store.processes={max(1, processes // 2)}"
        ) from None
    except BaseException:
        for process in list((pool._processes or {}).values()):
            process.terminate()
        raise
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def _begin() -> None:
    """Leave an interruption to the parent, and end when it does, however hard."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    leave_warnings()
    parent = parent_process()
    if parent is not None:
        threading.Thread(target=_end_with, args=(parent.sentinel,), daemon=True).start()


def _end_with(sentinel: int) -> None:
    connection.wait([sentinel])
    os._exit(1)
