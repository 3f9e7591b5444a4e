"""Processes that do part of a command's work: quick to start, deaf to what the command is told.

They end with the process that started them.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing import active_children, connection, parent_process, resource_tracker
from multiprocessing.context import SpawnContext, SpawnProcess
from types import ModuleType
from typing import TYPE_CHECKING, Any, TypeVar

from neoseg.errors import NeosegError

if TYPE_CHECKING:
    import torch

INTERRUPTIONS = (signal.SIGINT, *([signal.SIGHUP] if hasattr(signal, "SIGHUP") else []))
"""What a terminal sends to all processes of a command: Ctrl-C, and that it is closed."""

Item = TypeVar("Item")
Result = TypeVar("Result")


class ProcessError(NeosegError):
    """A process that was killed from outside."""


class _LightProcess(SpawnProcess):
    def start(self) -> None:
        with _without_main(), _deaf():
            super().start()
        popen: Any = self._popen  # type: ignore[attr-defined]
        popen.terminate = popen.kill  # which is all that it hears


class LightSpawnContext(SpawnContext):
    """Spawns processes that import what their work needs, and not the main module anew.

    Spawned, not forked: the parent may hold threads (torch, a logger) that a fork would break. The
    main module of a command imports the whole framework: seconds, and hundreds of megabytes, for
    each process. What travels to the processes must not be defined in the main module.
    """

    Process = _LightProcess


LIGHT_SPAWN = LightSpawnContext()


def light_spawn() -> LightSpawnContext:
    """Return the context; the process that cleans up after all others is as deaf as they are."""
    if hasattr(signal, "pthread_sigmask"):
        with _deaf():
            resource_tracker.ensure_running()
    return LIGHT_SPAWN


@contextmanager
def _deaf() -> Iterator[None]:
    """Keep what asks for an end from processes that are started meanwhile (not on Windows).

    A terminal, a cluster or a service manager tells all processes at once; the one that started
    the others decides. Signals that are blocked here are so in a new process from its first moment.
    """
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {*INTERRUPTIONS, signal.SIGTERM})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextmanager
def _without_main() -> Iterator[None]:
    main = sys.modules["__main__"]
    sys.modules["__main__"] = ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = main


def work_through(
    function: Callable[[Item], Result], items: Sequence[Item], processes: int, setting: str
) -> Iterator[tuple[int, Result]]:
    """Yield (number, result) of every item as it is done.

    With one process in this one, in order. `function` and `items` must travel by pickle, and must
    not be defined in the main module. An interruption ends the processes at once, wherever they
    are: what they write must be whole or absent. `setting` is the key that says how many there are.

    Raises:
        ProcessError: a process that was killed from outside.
    """
    if processes == 1:
        for number, item in enumerate(items):
            yield number, function(item)
        return
    others = active_children()
    pool = ProcessPoolExecutor(processes, mp_context=light_spawn(), initializer=_begin)
    running: dict[Future[Result], int] = {}
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
        raise ProcessError(
            f"one of {processes} processes that worked on scans was killed, perhaps for want of "
            "memory; what is done is kept: start again with fewer, such as "
            f"{setting}={max(1, processes // 2)}"
        ) from None
    except BaseException:
        for process in active_children():
            if process not in others:
                process.terminate()
        raise
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def _begin() -> None:
    """Leave an interruption to the parent, and end when it does, however hard."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Windows has no other way
    leave_warnings()
    parent = parent_process()
    if parent is not None:
        threading.Thread(target=_end_with, args=(parent.sentinel,), daemon=True).start()


def _end_with(sentinel: int) -> None:
    connection.wait([sentinel])
    os._exit(1)


def leave_warnings(_: int = 0) -> None:
    """Leave a cluster's warning to the process that trains: some send it to all of a job's.

    The argument is the number that a loader process is begun with.
    """
    warning = warning_signal()
    if warning is not None:
        signal.signal(warning, signal.SIG_IGN)


def is_first_process() -> bool:
    """Tell whether this process is the first of those that share a run, or the only one."""
    names = ("RANK", "LOCAL_RANK", "SLURM_PROCID")
    return next((os.environ[name] for name in names if os.environ.get(name)), "0") == "0"


def in_submitit() -> bool:
    """Tell whether this process belongs to a job that submitit has started."""
    return bool(os.environ.get("SUBMITIT_EXECUTOR"))


def warning_signal() -> signal.Signals | None:
    """Return the signal with which a cluster warns this job; None outside of one."""
    if not in_submitit():
        return None
    return signal.Signals[f"SIG{os.environ.get('SUBMITIT_PREEMPT_SIGNAL', 'USR2')}"]


@contextmanager
def one_thread(device: torch.device) -> Iterator[None]:
    """Have torch compute on one thread of the CPU; accelerators go on as they are.

    So arithmetic does not depend on how many threads a process has.
    """
    import torch

    threads = torch.get_num_threads()
    if device.type != "cpu" or threads == 1:
        yield
        return
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
