"""Processes that work has started are light, and leave a warning to the one that started them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from functools import partial
from multiprocessing import resource_tracker
from pathlib import Path

import pytest

from neoseg.processes import (
    LIGHT_SPAWN,
    ProcessError,
    init_worker,
    light_spawn,
    work_through,
)

ROOT = Path(__file__).resolve().parents[1]
HEAVY = """
import os
with open("imported.txt", "a") as handle:
    print(os.getpid(), file=handle)
"""
MAIN = """
import heavy, multiprocessing, os, sys
from concurrent.futures import ProcessPoolExecutor
from neoseg.processes import LIGHT_SPAWN
if __name__ == "__main__":
    contexts = {"light": LIGHT_SPAWN, "plain": multiprocessing.get_context("spawn")}
    with ProcessPoolExecutor(1, mp_context=contexts[sys.argv[1]]) as pool:
        assert pool.submit(os.getpid).result() != os.getpid()
"""


@pytest.mark.parametrize(("kind", "imports"), [("light", 1), ("plain", 2)])
def test_the_main_module_is_not_imported_anew(tmp_path: Path, kind: str, imports: int) -> None:
    (tmp_path / "heavy.py").write_text(HEAVY)
    (tmp_path / "main.py").write_text(MAIN)
    subprocess.run(
        [sys.executable, "main.py", kind],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        check=True,
    )
    assert len((tmp_path / "imported.txt").read_text().split()) == imports


def test_the_main_module_is_back_after_a_start() -> None:
    main = sys.modules["__main__"]
    process = LIGHT_SPAWN.Process(target=os.getpid)
    process.start()
    assert sys.modules["__main__"] is main
    process.join()
    assert process.exitcode == 0


def only_the_one_who_started_it_ends_a_process() -> None:
    process = light_spawn().Process(target=time.sleep, args=(60,))
    process.start()
    tracker = resource_tracker._resource_tracker._pid  # type: ignore[attr-defined]
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGTERM):
        os.kill(process.pid or 0, number)
    if tracker is not None:
        os.kill(tracker, signal.SIGHUP)
    process.join(0.3)
    assert process.is_alive()
    resource_tracker.ensure_running()
    assert resource_tracker._resource_tracker._pid == tracker  # type: ignore[attr-defined]
    process.terminate()
    process.join(10)
    assert process.exitcode == -signal.SIGKILL
    assert signal.SIGHUP not in signal.pthread_sigmask(signal.SIG_BLOCK, ())


def test_only_the_one_who_started_it_ends_a_process() -> None:
    # In a process of its own: other tests have started here what cleans up after processes.
    name = only_the_one_who_started_it_ends_a_process.__name__
    paths = os.pathsep.join([str(ROOT), str(ROOT / "tests")])
    subprocess.run(
        [sys.executable, "-c", f"import test_processes; test_processes.{name}()"],
        env={**os.environ, "PYTHONPATH": paths},
        check=True,
        timeout=60,
    )


@pytest.mark.parametrize(("variable", "survives"), [("SUBMITIT_EXECUTOR", True), ("OTHER", False)])
def test_a_loader_leaves_a_cluster_s_warning_to_the_training(variable: str, survives: bool) -> None:
    command = (
        "import os, signal; from neoseg.processes import init_worker; init_worker(0);"
        "os.kill(os.getpid(), signal.SIGUSR2)"
    )
    done = subprocess.run(
        [sys.executable, "-c", command],
        env={**os.environ, "PYTHONPATH": str(ROOT), variable: "slurm"},
    )
    assert done.returncode == (0 if survives else -signal.SIGUSR2)


def start_late() -> None:
    """Begin to watch a parent that is dead by then."""
    time.sleep(0.5)
    init_worker(0)
    time.sleep(60)


def start_one_and_die() -> None:
    process = light_spawn().Process(target=start_late)
    process.start()
    print(process.pid, flush=True)
    os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.slow
def test_a_process_ends_whose_parent_was_killed_before_it_began() -> None:
    paths = os.pathsep.join([str(ROOT), str(ROOT / "tests")])
    started = subprocess.run(
        [sys.executable, "-c", "import test_processes; test_processes.start_one_and_die()"],
        env={**os.environ, "PYTHONPATH": paths},
        stdout=subprocess.PIPE,  # which the process holds open, too: this waits until it ends
        timeout=50,
    )
    assert started.returncode == -signal.SIGKILL
    assert int(started.stdout) > 0


def die_at(number: int, item: int) -> int:
    if item == number:
        os._exit(9)
    return item


@pytest.mark.slow
def test_a_killed_process_ends_with_one_message() -> None:
    with pytest.raises(ProcessError, match=r"store\.processes=1"):
        list(work_through(partial(die_at, 1), [0, 1, 2], 2, "store.processes"))


def test_one_process_works_in_order(tmp_path: Path) -> None:
    done = work_through(partial(die_at, 9), [3, 1, 2], 1, "store.processes")
    assert list(done) == [(0, 3), (1, 1), (2, 2)]
