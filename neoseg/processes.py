"""Processes that start quickly: without what the command that starts them has imported."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.context import SpawnContext, SpawnProcess
from types import ModuleType
from typing import Any


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


def give_way(_: int) -> None:
    """Let the process that trains go first where cores are short: loaders fill its pauses.

    A network that computes on as many threads as there are cores waits, at the end of each
    operation, for the thread whose core was taken.
    """
    if hasattr(os, "nice"):
        os.nice(10)
