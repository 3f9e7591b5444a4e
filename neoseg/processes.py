"""Worker processes of a command: fast to start, immune to the signals that the command receives.

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
"""Signals that a terminal sends to all processes of a command: Ctrl-C and hangup."""

Item = TypeVar("Item")
Result = TypeVar("Result")


class ProcessError(NeosegError):
    """A worker process was killed from outside."""


class _LightProcess(SpawnProcess):
    def start(self) -> None:
        with _without_main(), _signals_blocked():
            super().start()
        popen: Any = self._popen  # type: ignore[attr-defined]
        popen.terminate = popen.kill  # SIGTERM is blocked in the process


class LightSpawnContext(SpawnContext):
    """Spawn processes that import only what their work needs, not the main module.

    Spawn rather than fork: the parent may hold threads (torch, a logger) that a fork would break.
    The main module of a command imports the whole framework, which costs each process seconds and
    hundreds of megabytes. Objects sent to the processes must not be defined in the main module.
    """

    Process = _LightProcess


LIGHT_SPAWN = LightSpawnContext()


def light_spawn() -> LightSpawnContext:
    """Return the context, after starting the resource tracker with signals blocked as well."""
    if hasattr(signal, "pthread_sigmask"):
        with _signals_blocked():
            resource_tracker.ensure_running()
    return LIGHT_SPAWN


@contextmanager
def _signals_blocked() -> Iterator[None]:
    """Block interruptions and SIGTERM in processes started in the block (not on Windows).

    A terminal, a cluster or a service manager signals all processes at once; the parent decides
    what its workers do. A new process inherits the mask, so it is protected from the start.
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
    """Yield (number, result) of every item as it completes.

    With one process or item, all is done in this process, in order. `function` and `items` must
    be picklable and not defined in the main module. An interruption kills the workers at once, so
    they must write files atomically. `setting` is the configuration key for the number of
    processes, named in the error message.

    Raises:
        ProcessError: a worker process was killed from outside.
    """
    processes = min(processes, len(items))
    if processes <= 1:
        for number, item in enumerate(items):
            yield number, function(item)
        return
    earlier_children = active_children()
    pool = ProcessPoolExecutor(processes, mp_context=light_spawn(), initializer=init_worker)
    running: dict[Future[Result], int] = {}
    pending = iter(enumerate(items))
    try:
        while True:
            # Submit few items at a time, so that an interruption leaves little to wait for.
            for number, item in pending:
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
            f"one of {processes} processes that worked on scans was killed, perhaps for lack of "
            "memory; what is done is kept: start again with fewer, such as "
            f"{setting}={max(1, processes // 2)}"
        ) from None
    except BaseException:
        for process in active_children():
            if process not in earlier_children:
                process.terminate()
        raise
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def init_worker(_: int = 0) -> None:
    """Ignore interruptions, and exit when the parent does, even if it is killed.

    PyTorch's loaders notice that by themselves, but not while they start. The argument is the
    worker id that they pass to their `worker_init_fn`.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Windows cannot block signals
    leave_warnings()
    parent = parent_process()
    if parent is not None:
        threading.Thread(target=_exit_with, args=(parent.sentinel,), daemon=True).start()


def _exit_with(sentinel: int) -> None:
    connection.wait([sentinel])
    os._exit(1)


def leave_warnings() -> None:
    """Ignore the cluster's warning signal: some clusters send it to all processes of a job.

    The training process alone handles it.
    """
    warning = warning_signal()
    if warning is not None:
        signal.signal(warning, signal.SIG_IGN)


def is_first_process() -> bool:
    """Return whether this process has rank 0 among those that share a run, or is the only one."""
    names = ("RANK", "LOCAL_RANK", "SLURM_PROCID")
    return next((os.environ[name] for name in names if os.environ.get(name)), "0") == "0"


def in_submitit() -> bool:
    """Return whether this process belongs to a job that submitit started."""
    return bool(os.environ.get("SUBMITIT_EXECUTOR"))


def warning_signal() -> signal.Signals | None:
    """Return the signal with which the cluster warns this job; None outside a submitit job."""
    if not in_submitit():
        return None
    return signal.Signals[f"SIG{os.environ.get('SUBMITIT_PREEMPT_SIGNAL', 'USR2')}"]


@contextmanager
def one_thread(device: torch.device) -> Iterator[None]:
    """Limit torch to one CPU thread in the block; no effect if `device` is an accelerator.

    This makes the arithmetic independent of the number of threads of the process.
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
