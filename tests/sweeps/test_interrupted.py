"""A sweep that is killed in the middle and started again, with a job that cannot work."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from filelock import FileLock
from forked import run_command, start_command
from tiny_run import TINY

from neoseg.runs.folder import LOCK

RUN = (
    *TINY,
    "patches.steps_per_epoch=4",
    "optimizer.warmup_steps=2",
    "trainer.max_epochs=2",
    "logger.wandb.mode=disabled",
    "score=false",
)
FOUR = ("-m", "+experiment=supervised,label_set", "annotation.draw=0,1")

pytestmark = pytest.mark.slow


def finish(folder: Path, *arguments: str, of: Sequence[str] = RUN) -> tuple[int, str]:
    return run_command("train", *arguments, *of, cwd=folder)


def finished(folder: Path) -> dict[str, int]:
    """Return when each finished job of the sweep was written."""
    found = folder.glob("runs/sweeps/default/*/run.json")
    return {path.parent.name: path.stat().st_mtime_ns for path in found}


def test_four_jobs_end_after_a_kill_without_repeating_any(tmp_path: Path) -> None:
    process = start_command("train", *FOUR, *RUN, cwd=tmp_path)
    deadline = time.monotonic() + 300
    while len(finished(tmp_path)) < 2 and process.is_alive() and time.monotonic() < deadline:
        time.sleep(0.01)
    assert process.pid is not None
    os.killpg(process.pid, signal.SIGKILL)
    process.join()
    before = finished(tmp_path)
    assert 2 <= len(before) < 4

    status, output = finish(tmp_path, *FOUR, "dry_run=true", "seconds_per_step=100")
    assert status == 0, output
    assert f"{len(before)} finished" in output
    assert finished(tmp_path) == before

    status, output = finish(tmp_path, *FOUR)
    assert status == 0, output
    after = finished(tmp_path)
    assert len(after) == 4
    assert {name: after[name] for name in before} == before
    assert output.count("is finished already") == len(before)


@pytest.mark.parametrize("cluster", [("cluster=none",), ("cluster=local", "cluster.jobs=2")])
def test_a_job_that_fails_stops_no_other_and_is_listed(
    cluster: tuple[str, ...], tmp_path: Path
) -> None:
    sizes = "patches.batch_size=2,0"
    arguments = ("-m", "+experiment=supervised", *cluster, sizes)
    tiny = [item for item in RUN if not item.startswith("patches.batch_size")]
    status, output = finish(tmp_path, *arguments, of=tiny)
    assert status == 1, output
    assert "1 of 2 jobs have finished" in output
    first = output.index("1 of 2 jobs of the sweep cannot work")  # told before any is started
    assert first < output.index("1 of 2 jobs have finished")
    (good,) = finished(tmp_path)
    (note,) = tmp_path.glob("runs/sweeps/default/*/failed.json")
    assert note.parent.name != good
    assert "batch_size" in json.loads(note.read_text())["reason"]
    assert note.parent.name[:20] in output.split("1 of 2 jobs have finished")[1]


def test_a_sweep_of_which_no_job_can_work_is_not_started(tmp_path: Path) -> None:
    tiny = [item for item in RUN if not item.startswith("patches.batch_size")]
    arguments = ("-m", "+experiment=supervised", "patches.batch_size=0", "seed=0,1")
    status, output = finish(tmp_path, *arguments, of=tiny)
    assert status == 2, output
    assert "2 of 2 jobs of the sweep cannot work" in output
    assert "Nothing was started" in output
    assert not list(tmp_path.glob("runs/sweeps/default/*/"))


def test_a_dry_run_tells_which_jobs_cannot_work(tmp_path: Path) -> None:
    own = tmp_path / "own"
    (own / "loss").mkdir(parents=True)
    (own / "mine.py").write_text("from neoseg.losses.iuc import IUC as Mine\n")
    (own / "loss" / "mine.yaml").write_text("mine: {_target_: mine.Mine}\n")
    sweep = ("-m", "+experiment=partial_iuc", "annotation.full_fraction=0.5,3", "dry_run=true")
    loss = ("--config-dir", "own", "allow=[mine]", "loss=[mine]")  # found before a job begins
    status, output = finish(tmp_path, *sweep, *loss)
    assert status == 2, output
    assert "1 of 2 jobs of the sweep cannot work" in output
    assert "annotation.full_fraction = 3" in output
    assert not list(tmp_path.glob("runs/sweeps/default/*/config.yaml"))


def test_a_dry_run_shows_what_sbatch_would_get(tmp_path: Path) -> None:
    asked = ("cluster=slurm", "cluster.partition=gpu", "dry_run=true")
    status, output = finish(tmp_path, *FOUR, *asked)
    assert status == 0, output
    assert "#SBATCH --partition=gpu" in output
    assert "#SBATCH --array=0-3%4" in output
    assert not list(tmp_path.glob("runs/sweeps/default/.submitit"))


def weights(folder: Path) -> dict[str, torch.Tensor]:
    """Return what the only finished job below a folder has learnt."""
    (record,) = folder.glob("runs/sweeps/*/*/run.json")
    checkpoint = record.parent / "checkpoints" / "last.ckpt"
    return torch.load(checkpoint, weights_only=True)["state_dict"]


def test_a_local_job_of_two_processes_learns_what_one_learns(tmp_path: Path) -> None:
    # Biases that instance normalisation takes away have gradients of rounding alone; Adam would
    # scale these up.
    job = ("-m", "+experiment=partial_superclass", "optimizer=sgd")
    found = {}
    for devices in (1, 2):
        folder = tmp_path / str(devices)
        folder.mkdir()
        sizes = (
            f"trainer.devices={devices}",
            f"trainer.strategy={'ddp' if devices > 1 else 'auto'}",
            f"cluster={'local' if devices > 1 else 'none'}",  # local jobs of one are above
        )
        status, output = finish(folder, *job, *sizes)
        assert status == 0, output
        log = "".join(path.read_text() for path in folder.rglob("*.log"))
        assert ("MEMBER: 2/2" in log) is (devices == 2), log
        found[devices] = weights(folder)
    assert found[1].keys() == found[2].keys()
    for name, one in found[1].items():
        torch.testing.assert_close(found[2][name], one, rtol=1e-4, atol=1e-6, msg=name)


def test_ddp_inside_a_plain_sweep_is_refused_with_what_works(tmp_path: Path) -> None:
    sizes = ("trainer.devices=2", "trainer.strategy=ddp")
    status, output = finish(tmp_path, "-m", "+experiment=supervised", *sizes)
    assert status == 1, output
    assert "add cluster=local" in output
    assert not finished(tmp_path)


def test_a_sweep_leaves_a_run_to_the_process_that_has_it(tmp_path: Path) -> None:
    folder = tmp_path / "runs" / "sweeps" / "default" / "job"
    folder.mkdir(parents=True)
    with FileLock(folder / LOCK):
        status, output = finish(tmp_path, "-m", "+experiment=supervised", "hydra.sweep.subdir=job")
    assert status == 1, output
    assert "left to another process" in output
    assert [path.name for path in folder.iterdir()] == [LOCK]
