"""Processes that do part of a command's work: quick to start, deaf to a cluster's warning."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.context import SpawnContext, SpawnProcess
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch


class _LightProcess(SpawnProcess):
    @staticmethod
    def _Popen(process: Any) -> Any:  # noqa: N802  (the name that multiprocessing calls)
        with _without_main():
            return SpawnProcess._Popen(process)


class LightSpawnContext(SpawnContext):
    """Spawns processes that import what their work needs, and not the main module anew.

    Spawned, not forked: the parent may hold threads (torch, a logger) that a fork would break. The
    main module of a command imports the whole framework: seconds, and hundreds of megabytes, for
    each process. What travels to the processes must not be defined in the main module.
    """

    Process = _LightProcess


LIGHT_SPAWN = LightSpawnContext()


@contextmanager
def _without_main() -> Iterator[None]:
    main = sys.modules["__main__"]
    sys.modules["__main__"] = ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = main


def leave_warnings(_: int = 0) -> None:
    """Leave a cluster's warning to the process that trains: some send it to all of a job's.

    The argument is the number that a loader process is begun with.
    """
    warning = warning_signal()
    if warning is not None:
        signal.signal(warning, signal.SIG_IGN)


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
