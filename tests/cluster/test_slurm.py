"""A sweep on a real SLURM: jobs over two nodes, one of them preempted, with the right results."""

from __future__ import annotations

import csv
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import pytest
import torch
from forked import start_command
from slurm_cluster import SlurmCluster, free_ports
from tiny_run import TINY

from neoseg.files import find

LIMIT = 240.0
"""Seconds that a command may take."""

ARMS = ("partial_iuc", "supervised")
RUN = (
    *TINY,
    "patches.steps_per_epoch=4",
    "optimizer.warmup_steps=2",
    "trainer.max_epochs=6",
    "trainer.log_every_n_steps=1",
    "logger.wandb.mode=disabled",
    "pictures=0",
)
LAST_STEP = 23
SLURM = (
    "cluster=slurm",
    "trainer.num_nodes=2",
    "trainer.devices=1",
    "trainer.strategy=ddp",
    "cluster.cpus_per_task=1",
    "cluster.time=10",
    'cluster.setup=["export OMP_NUM_THREADS=1","export MASTER_ADDR=127.0.0.1",'
    '"export GLOO_SOCKET_IFNAME=lo"]',
)

pytestmark = [pytest.mark.slow, pytest.mark.slurm]


@dataclass(frozen=True)
class Sweep:
    """What a sweep on the cluster has left."""

    status: int
    output: str
    folders: Mapping[str, Path]
    runs: Mapping[str, int]  # how often each job was started


def run_sweep(cluster: SlurmCluster, base: Path) -> Sweep:
    """Run a sweep whose first job was told in the middle that its place is needed."""
    names = f"+experiment={','.join(ARMS)}"
    process, said = start(base, cluster.environment, "-m", names, *SLURM, *RUN)
    try:
        first = preempt_at(6, base, cluster, process)
        release(first, cluster)
        output = finish(process, said)
    except BaseException:
        process.kill()
        process.join()
        print(said.read_text())
        raise
    found = {arm: folder_of(base, arm) for arm in ARMS}
    logs = [
        path.read_text()
        for path in sorted((base / "runs/sweeps/default/.submitit").rglob("*_0_log.out"))
    ]
    starts = {arm: logs[number].count("Loading pickle") for number, arm in enumerate(ARMS)}
    assert first in output
    return Sweep(process.exitcode or 0, output, found, starts)


def start(
    folder: Path, environment: Mapping[str, str], *arguments: str
) -> tuple[BaseProcess, Path]:
    """Start a training command in a process of its own; return also the file of what it says."""
    said = folder / f"{time.monotonic_ns()}.txt"
    said.touch()
    return start_command(
        *("train", *arguments), cwd=folder, said=str(said), environment=environment
    ), said


def finish(process: BaseProcess, said: Path) -> str:
    """Wait for the end of a command; return what it said."""
    process.join(LIMIT)
    if process.is_alive():
        process.kill()
        raise TimeoutError(said.read_text())
    return said.read_text()


def preempt_at(step: int, folder: Path, cluster: SlurmCluster, process: BaseProcess) -> str:
    """Send the first job that reaches a step what SLURM sends before it takes a node away."""
    deadline = time.monotonic() + LIMIT
    while time.monotonic() < deadline and process.is_alive():
        curves = find(folder / "runs", ["metrics.csv"])
        if max(map(last_step, curves), default=-1) >= step:
            (job,) = (name for name, state in cluster.queue().items() if state == "RUNNING")
            cluster.run("scancel", "--signal=USR2", job)
            return job
        time.sleep(0.02)
    raise AssertionError(f"no job came to step {step}\n{cluster.logs()}")


def release(job: str, cluster: SlurmCluster) -> None:
    """Let a job that is back in the queue start at once; SLURM makes it wait for two minutes."""
    deadline = time.monotonic() + 60
    while cluster.queue().get(job) != "PENDING":
        assert time.monotonic() < deadline, cluster.logs()
        time.sleep(0.2)
    cluster.run("scontrol", "update", f"JobId={job}", "StartTime=now")


def last_step(curve: Path) -> int:
    with curve.open() as handle:
        cells = [row.get("step") or "" for row in csv.DictReader(handle)]
    return max((int(cell) for cell in cells if cell.isdigit()), default=-1)


def folder_of(base: Path, arm: str) -> Path:
    (found,) = (base / "runs/sweeps/default").glob(f"+experiment-{arm}_*")
    return found


def train(folder: Path, *arguments: str, processes: int = 1) -> Path:
    """Train outside of the cluster, on the same data; return the run folder."""
    folder.mkdir()
    run = folder / "alone"
    arguments += (f"hydra.run.dir={run}", f"paths.runs={folder}")
    together = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_ports(1)[0])}
    ranks = [
        start(folder, {**together, "LOCAL_RANK": str(rank)} if processes > 1 else {}, *arguments)
        for rank in range(processes)
    ]
    for process, said in ranks:
        output = finish(process, said)
        assert process.exitcode == 0, output
    return run


def checkpoint(run: Path) -> dict[str, Any]:
    return torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)


def curves(run: Path) -> list[dict[str, str]]:
    with (run / "metrics.csv").open() as handle:
        rows = list(csv.DictReader(handle))
    return [{k: v for k, v in row.items() if not k.startswith("time/")} for row in rows]


def check_all_jobs_finish(sweep: Sweep) -> None:
    assert sweep.status == 0, sweep.output
    assert "2 of 2 jobs have finished" in sweep.output
    for folder in sweep.folders.values():
        record = json.loads((folder / "run.json").read_text())
        assert record["steps"] == LAST_STEP + 1
        assert (folder / "scores.csv").is_file()
        assert not (folder / "failed.json").exists()


def check_only_the_preempted_job_was_started_twice(sweep: Sweep) -> None:
    assert sweep.runs == {ARMS[0]: 2, ARMS[1]: 1}, sweep.output


def check_the_preempted_job_is_as_if_nothing_had_disturbed_it(
    sweep: Sweep, base: Path, folder: Path
) -> None:
    """The same two processes on one machine, without SLURM and undisturbed, give the same bits."""
    two = ("trainer.devices=2", "trainer.strategy=ddp", f"paths.data={base / 'data'}")
    alone = train(folder, f"+experiment={ARMS[0]}", *RUN, *two, processes=2)
    ours, theirs = checkpoint(sweep.folders[ARMS[0]]), checkpoint(alone)
    assert ours["global_step"] == theirs["global_step"] == LAST_STEP + 1
    assert list(ours["state_dict"]) == list(theirs["state_dict"])
    for name, value in ours["state_dict"].items():
        assert torch.equal(value, theirs["state_dict"][name]), name
    assert curves(sweep.folders[ARMS[0]]) == curves(alone)


def check_two_processes_learn_what_one_learns(
    arm: str, sweep: Sweep, base: Path, folder: Path
) -> None:
    one = train(folder, f"+experiment={arm}", *RUN, f"paths.data={base / 'data'}")
    ours, theirs = checkpoint(sweep.folders[arm])["state_dict"], checkpoint(one)["state_dict"]
    for name, value in ours.items():
        # Instance normalisation takes these biases away: their gradients are rounding alone.
        if name.replace("conv.bias", "adn.A.weight") in ours and name.endswith("conv.bias"):
            continue
        torch.testing.assert_close(value, theirs[name], rtol=1e-5, atol=1e-6)
    for our_row, their_row in zip(curves(sweep.folders[arm]), curves(one), strict=True):
        assert list(our_row) == list(their_row)
        for name, cell in our_row.items():
            if cell or their_row[name]:
                assert float(cell) == pytest.approx(float(their_row[name]), abs=1e-6, nan_ok=True)


def check_the_finished_sweep_asks_for_no_node(
    sweep: Sweep, cluster: SlurmCluster, base: Path
) -> None:
    before = {arm: (path / "run.json").stat().st_mtime_ns for arm, path in sweep.folders.items()}
    names = f"+experiment={','.join(ARMS)}"
    process, said = start(base, cluster.environment, "-m", names, *SLURM, *RUN)
    output = finish(process, said)
    assert process.exitcode == 0, output
    assert "submitted" not in output
    assert {
        arm: (path / "run.json").stat().st_mtime_ns for arm, path in sweep.folders.items()
    } == before


def test_a_sweep_over_two_nodes(cluster: SlurmCluster, tmp_path: Path) -> None:
    """One test, so that workers that share the tests out do not each repeat the sweep."""
    base = tmp_path / "base"
    base.mkdir()
    sweep = run_sweep(cluster, base)
    check_all_jobs_finish(sweep)
    check_only_the_preempted_job_was_started_twice(sweep)
    check_the_preempted_job_is_as_if_nothing_had_disturbed_it(sweep, base, tmp_path / "two")
    check_two_processes_learn_what_one_learns(ARMS[1], sweep, base, tmp_path / ARMS[1])
    check_the_finished_sweep_asks_for_no_node(sweep, cluster, base)
