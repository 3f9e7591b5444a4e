"""Commands as a user starts them, each a process of its own that need not import all anew."""

from __future__ import annotations

import multiprocessing
import os
import runpy
import sys
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from multiprocessing.process import BaseProcess
from pathlib import Path

from quick import quick_runs

from neoseg.configuration import nodes
from neoseg.processes import light_spawn

ROOT = Path(__file__).resolve().parents[1]

# They are forked from a process that does nothing but import, which takes some CPU seconds each.
CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(
    [
        "neoseg.configuration.run",
        "neoseg.runs.run",
        "neoseg.evaluation.report.write",
        "monai.networks.nets",
    ]
)


def run_command(
    command: str | Path,
    *arguments: object,
    cwd: Path,
    timeout: float = 600,
    paths: Sequence[Path] = (),
    environment: Mapping[str, str] | None = None,
    quick: bool = False,
) -> tuple[int, str]:
    """Run `python -m neoseg.<command>` in a folder; return its status and all that it said.

    A path is a script, which may import what lies beside it. `paths` are where packages from
    outside lie, as if named by PYTHONPATH. The variables of `environment` are set as well. With
    `quick`, registration and curves are not what is tried (`quick_runs`).
    """
    with tempfile.NamedTemporaryFile(mode="r") as said:
        job = start_command(
            *(command, *arguments),
            cwd=cwd,
            said=said.name,
            paths=paths,
            environment=environment,
            quick=quick,
        )
        job.join(timeout)
        if job.is_alive():
            job.kill()
            raise TimeoutError(f"{command} {arguments} took more than {timeout} s: {said.read()}")
        return job.exitcode or 0, said.read()


def start_command(
    command: str | Path,
    *arguments: object,
    cwd: Path,
    said: str = os.devnull,
    paths: Sequence[Path] = (),
    environment: Mapping[str, str] | None = None,
    quick: bool = False,
) -> BaseProcess:
    """Start what `run_command` runs, as the leader of a process group; what it says goes to a file.

    An `exitcode` below zero is the signal that ended it.
    """
    light_spawn()  # what cleans up after processes is started as neoseg does
    words = [*map(str, (command, *arguments))]
    variables = {**(environment or {}), "OMP_NUM_THREADS": "1"}
    given = (words, cwd, said, [ROOT, *paths], variables, quick)
    job = CONTEXT.Process(target=_serve, args=given)
    job.start()
    return job


def _serve(
    words: list[str],
    cwd: Path,
    said: str,
    paths: Sequence[Path],
    variables: Mapping[str, str],
    quick: bool,
) -> None:
    import torch  # by now; where tests are collected it would cost each of them its time

    os.setsid()
    target = os.open(said, os.O_WRONLY | os.O_APPEND)
    for descriptor in (1, 2):
        os.dup2(target, descriptor)
    os.chdir(cwd)
    places = [str(path) for path in paths]
    os.environ |= {"PYTHONPATH": os.pathsep.join(places), **variables}
    torch.set_num_threads(int(variables["OMP_NUM_THREADS"]))  # read when the server imported it
    sys.path[:0] = ["", *places]
    if len(places) > 1:  # what the server found installed is not all
        for found in (nodes.option_nodes, nodes.register_nodes):
            found.cache_clear()
        nodes.register_nodes()
    sys.argv = words
    with quick_runs() if quick else nullcontext():
        if words[0].endswith(".py"):
            sys.path.insert(0, str(Path(words[0]).parent))
            runpy.run_path(words[0], run_name="__main__")
        else:
            runpy.run_module(f"neoseg.{words[0]}", run_name="__main__", alter_sys=True)
