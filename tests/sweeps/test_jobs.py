"""What a job's folder tells, and what becomes of jobs that others have."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hydra import compose, initialize_config_dir
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import OmegaConf

from neoseg.configuration.cluster import LocalSettings
from neoseg.configuration.config import CONFIG_DIR, job_name
from neoseg.findings.settings import ConfigError
from neoseg.runs.folder import LOCK
from neoseg.sweeps import local, slurm
from neoseg.sweeps.jobs import Job
from neoseg.sweeps.local import _Pool, _Running
from neoseg.sweeps.places import Places
from neoseg.sweeps.sweep import _with_network


def job(folder: Path, *overrides: str) -> Job:
    folder.mkdir(exist_ok=True)
    with initialize_config_dir(str(CONFIG_DIR), version_base="1.3"):
        return Job.of(overrides, folder, compose("train", list(overrides)))


def test_a_learning_rate_test_has_ended_when_it_has_its_result(tmp_path: Path) -> None:
    tested = job(tmp_path, "find_lr=30")
    assert tested.steps == 30
    (tmp_path / "config.yaml").write_text("")
    assert (tested.state, tested.ended) == ("interrupted", False)
    (tmp_path / "learning_rate.json").write_text("{}")
    assert tested.ended


@pytest.mark.parametrize(
    ("devices", "expected"), [("2", 2), ("[0,3,5]", 3), ("auto", 1), ("-1", 1)]
)
def test_devices_are_counted(devices: str, expected: int, tmp_path: Path) -> None:
    assert job(tmp_path, f"trainer.devices={devices}", "patches.batch_size=6").devices == expected


@pytest.mark.parametrize(
    "override",
    ["loss=[\"iuc\",a/b]\\ 'c'", "seed=${annotation.draw}", "name=Müller", "x=~$(a);b&c"],
)
def test_a_name_can_be_typed(override: str, tmp_path: Path) -> None:
    name = job_name([override, "+experiment=supervised"], [], tmp_path)
    assert name.startswith("+experiment-supervised_")
    assert shlex.split(name) == [name] == [shlex.quote(name)]
    assert OverridesParser.create().parse_override(f"run={name}").value() == name
    assert name != job_name([f"{override}1", "+experiment=supervised"], [], tmp_path)


def test_a_job_that_an_earlier_version_began_keeps_its_name(tmp_path: Path) -> None:
    new = job_name(["loss=[iuc,known_dice]"], [], tmp_path)
    (tmp_path / "loss-[iuc,known_dice]").mkdir()
    assert job_name(["loss=[iuc,known_dice]"], [], tmp_path) == "loss-[iuc,known_dice]" != new


def test_a_job_too_large_for_the_machine_stops_none_half_way(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = ("cluster=local", "cluster.grace=0")
    jobs = {
        "small": job(tmp_path / "a", *here),
        "large": job(tmp_path / "b", "trainer.devices=8", "patches.batch_size=8", *here),
    }
    monkeypatch.setattr(local, "compose_job", lambda loader, config, name: jobs[name])
    monkeypatch.setattr(local, "visible_gpus", lambda: ["0", "1"])
    monkeypatch.setattr(local, "_shared_arguments", lambda config: [])
    config = OmegaConf.create()
    with pytest.raises(ConfigError, match=r"trainer\.devices is 8.*has 2 GPUs"):
        local.run_here(None, config, ["small", "large"])  # type: ignore[arg-type,list-item]
    assert not (tmp_path / "a" / "output.log").exists()


def running(folder: Path, script: str) -> tuple[_Pool, _Running, int]:
    """Start a leader that has a child; return the pool, the leader, and the child's number."""
    process = subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, start_new_session=True
    )
    assert process.stdout is not None
    child = int(process.stdout.readline())
    item = _Running(job(folder), process, ())
    pool = _Pool(Places((), jobs=2), LocalSettings(grace=30), ())
    pool.running.append(item)
    pool.places.take(1)
    return pool, item, child


def is_gone(process: int) -> bool:
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        try:
            state = Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()[0]
        except (FileNotFoundError, ProcessLookupError):
            return True
        if state == "Z":
            return True
        time.sleep(0.02)
    return False


CHILD = "import subprocess, sys; c = subprocess.Popen(['sleep', '300']); print(c.pid, flush=True);"
needs_proc = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs /proc")


@needs_proc
def test_what_a_job_has_started_ends_with_it(tmp_path: Path) -> None:
    pool, item, child = running(tmp_path, CHILD + "import os; os.kill(os.getpid(), 9)")
    item.process.wait()
    pool._end(item, "1 of 1")
    assert is_gone(child)
    assert "killed by SIGKILL" in job(tmp_path).reason


@needs_proc
def test_a_second_ctrl_c_ends_the_jobs_at_once(tmp_path: Path) -> None:
    stubborn = "import signal, time; signal.signal(15, signal.SIG_IGN);"
    pool, item, child = running(tmp_path, stubborn + CHILD + "time.sleep(300)")
    before = signal.signal(signal.SIGALRM, signal.default_int_handler)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.3)
        with pytest.raises(KeyboardInterrupt):
            pool._stop()
    finally:
        signal.signal(signal.SIGALRM, before)
    assert item.process.poll() == -signal.SIGKILL
    assert is_gone(child)


@pytest.fixture
def hangup() -> Iterator[None]:
    """Put the handler of SIGHUP back; under nohup the tests themselves ignore it."""
    before = signal.getsignal(signal.SIGHUP)
    yield
    signal.signal(signal.SIGHUP, before)


@pytest.mark.usefixtures("hangup")
def test_a_closed_terminal_ends_a_sweep_as_ctrl_c_does() -> None:
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    with pytest.raises(SystemExit) as stop, local._ending_on_signals():
        signal.raise_signal(signal.SIGHUP)
    assert stop.value.code == 128 + signal.SIGHUP
    assert signal.getsignal(signal.SIGHUP) is signal.SIG_DFL


@pytest.mark.usefixtures("hangup")
def test_under_nohup_a_sweep_outlives_its_terminal() -> None:
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    with local._ending_on_signals():
        signal.raise_signal(signal.SIGHUP)
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN


def test_no_failure_is_noted_where_another_process_trains(tmp_path: Path) -> None:
    pool, item, _ = running(tmp_path, CHILD + "c.kill(); sys.exit(3)")
    item.process.wait()
    script = (
        "import sys, filelock; lock = filelock.FileLock(sys.argv[1]); lock.acquire();"
        "print(flush=True); sys.stdin.read()"
    )
    other = subprocess.Popen(
        [sys.executable, "-c", script, str(tmp_path / LOCK)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert other.stdout is not None
    other.stdout.readline()
    pool._end(item, "1 of 1")
    assert job(tmp_path).state == "running"
    other.communicate(b"")
    assert not (tmp_path / "failed.json").exists()


def test_jobs_that_slurm_still_has_are_not_submitted_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("submitit")
    bin_ = tmp_path / "bin"
    bin_.mkdir()
    (bin_ / "squeue").write_text("#!/bin/sh\necho 7_0\necho 7_1\n")
    (bin_ / "squeue").chmod(0o755)
    monkeypatch.setenv("PATH", f"{bin_}{os.pathsep}{os.environ['PATH']}")
    names = {"queued": "7_1", "gone": "6_0", "new": None}
    jobs = []
    for name, number in names.items():
        jobs.append(job(tmp_path / name, "cluster=slurm", "trainer.num_nodes=2"))
        if number is not None:
            jobs[-1].submitted_as(number)
    assert [j.submission for j in jobs] == ["7_1", "6_0", None]
    config = OmegaConf.create({"hydra": {"sweep": {"dir": str(tmp_path)}}})
    (told,) = slurm.sbatch_heads(OmegaConf.merge({"sweep": "mine"}, config), jobs)
    assert told.startswith("sbatch would get, for gone, new:\n")
    ((found, submission),) = slurm._submitted_before(config, jobs)
    assert found is jobs[0]
    assert (submission.job_id, submission.num_tasks) == ("7_1", 2)

    (bin_ / "squeue").write_text("#!/bin/sh\necho down >&2\nexit 1\n")
    with pytest.raises(ConfigError, match="squeue does not say"):
        slurm._submitted_before(config, jobs)


def test_what_sbatch_would_get_is_told_by_array(tmp_path: Path) -> None:
    pytest.importorskip("submitit")
    asked = ("cluster=slurm", "cluster.partition=gpu", "+cluster.options={mail-type: END}")
    asked += ("cluster.wckey=thesis",)
    sizes = {"a": "cluster.time=90", "b": "cluster.time=90", "c": "cluster.memory=7.5"}
    jobs = [job(tmp_path / name, *asked, size) for name, size in sizes.items()]
    config = OmegaConf.create({"sweep": "mine", "hydra": {"sweep": {"dir": str(tmp_path)}}})
    both, last = slurm.sbatch_heads(config, jobs)
    assert both.startswith("sbatch would get, for a, b:\n#!/bin/bash\n")
    assert last.startswith("sbatch would get, for c:\n")
    for flag in ("array=0-1%2", "time=90", "partition=gpu", "job-name=mine", "mail-type=END"):
        assert f"#SBATCH --{flag}\n" in both
    assert "#SBATCH --mem=7680MB\n" in last
    assert "#SBATCH --array" not in last
    assert "#SBATCH --wckey=thesis\n" in both
    assert "srun" not in both + last


def test_a_waiting_sweep_notes_no_failure_of_a_job_that_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    waiting = job(tmp_path)
    monkeypatch.setattr(Job, "state", property(lambda self: "running"))
    monkeypatch.setattr(slurm, "POLL", 0.0)
    monkeypatch.setattr(slurm, "_has_result", lambda submission: True)
    submission: Any = SimpleNamespace(job_id="7_0")
    slurm._wait([(waiting, submission)])
    assert not (tmp_path / "failed.json").exists()


def test_a_cluster_that_does_not_answer_is_one_message() -> None:
    text = (
        "sbatch: error: Batch job submission failed: Unable to contact slurm controller (connect "
        "failure)"
    )
    told = slurm._refusal(f"command failed:\n{text}\n")
    assert told.startswith(f"SLURM does not answer: {text}")
    refused = slurm._refusal("x\nsbatch: error: invalid partition specified: gpu\n")
    assert refused.startswith("sbatch refuses the jobs: sbatch: error: invalid partition")
    assert "\n" not in told + refused


def test_a_network_that_cannot_be_built_is_told_before_the_queue(tmp_path: Path) -> None:
    wrong = _with_network(job(tmp_path / "a", "network.net.strides=[2,2]", "network.divisor=4"))
    assert "cannot be built" in wrong.problem
    assert wrong.run is None
    assert _with_network(job(tmp_path / "b")).problem == ""


@pytest.mark.parametrize(
    ("overrides", "says"),
    [
        (("patches.batch_size=2", "trainer.devices=4", "trainer.num_nodes=2"), "batch_size=8"),
        (("cluster.nodes=2",), "would wait for ever"),
        (("cluster.time=2",), "cluster.warning"),
    ],
)
def test_a_job_that_its_cluster_cannot_run_has_a_problem(
    overrides: tuple[str, ...], says: str, tmp_path: Path
) -> None:
    assert says in job(tmp_path, "cluster=slurm", *overrides).problem
