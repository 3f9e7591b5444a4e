"""Jobs as commands of their own on this machine, several at a time."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from types import FrameType
from typing import Any

from hydra.core.config_loader import ConfigLoader
from omegaconf import DictConfig

from neoseg.configuration.cluster import LocalSettings
from neoseg.failure import forget_failure, note_failure
from neoseg.findings.command_line import quoted
from neoseg.findings.settings import ConfigError
from neoseg.sweeps.jobs import Job, compose_job
from neoseg.sweeps.places import Places, visible_gpus

log = logging.getLogger(__name__)

OUTPUT = "output.log"
"""In each job's folder: what the command wrote."""

HYDRAS = "HYDRA_FULL_ERROR=1"
"""In the line with which Hydra ends a traceback."""


def run_here(
    loader: ConfigLoader, config: DictConfig, job_overrides: Sequence[Sequence[str]]
) -> None:
    """Run jobs in processes of their own and wait for them; a failed one stops no other.

    Each is the leader of a process group, so that it can start further processes, one a GPU.
    Ctrl-C, SIGTERM and SIGHUP are passed on, so that the jobs save where they are.

    Raises:
        ConfigError: keys of `cluster`, or jobs that do not fit this machine.
    """
    jobs = [compose_job(loader, config, overrides) for overrides in job_overrides]
    runs = [job.run for job in jobs if job.run is not None]  # `run_sweep` starts no others
    settings = runs[0].cluster
    assert isinstance(settings, LocalSettings)
    for run in runs:
        if run.trainer.num_nodes > 1:
            raise ConfigError(
                f"trainer.num_nodes is {run.trainer.num_nodes}, and cluster=local is this machine "
                "alone; use cluster=slurm"
            )
    on_cpu = all(run.trainer.accelerator == "cpu" for run in runs)
    gpus: Sequence[object] = []
    if not on_cpu:
        gpus = visible_gpus() if settings.gpus is None else settings.gpus
    places = Places([*map(str, gpus)], settings.jobs_per_gpu, settings.jobs)
    for job in jobs:
        places.require(job.devices)
    pool = _Pool(places, settings, _shared_arguments(config))
    with _ending_on_signals():
        pool.run(jobs)


@dataclass
class _Running:
    job: Job
    process: subprocess.Popen[bytes]
    gpus: tuple[str, ...]
    started: float = field(default_factory=time.monotonic)


class _Pool:
    def __init__(self, places: Places, settings: LocalSettings, shared: Sequence[str]) -> None:
        self.places = places
        self.settings = settings
        self.shared = tuple(shared)
        self.running: list[_Running] = []

    def run(self, jobs: Sequence[Job]) -> None:
        waiting, done = list(jobs), 0
        try:
            while waiting or self.running:
                if waiting:
                    gpus = self.places.take(waiting[0].devices)
                    if gpus is not None:
                        self._start(waiting.pop(0), gpus)
                        continue
                time.sleep(0.1)
                for item in [r for r in self.running if r.process.poll() is not None]:
                    done += 1
                    self._end(item, f"{done} of {len(jobs)}")
        except BaseException:
            self._stop()
            raise

    def _start(self, job: Job, gpus: tuple[str, ...]) -> None:
        job.folder.mkdir(parents=True, exist_ok=True)
        forget_failure(job.folder)
        environment = dict(os.environ)
        if gpus:
            environment["CUDA_VISIBLE_DEVICES"] = ",".join(gpus)
        if self.settings.threads is not None:
            environment["OMP_NUM_THREADS"] = str(self.settings.threads)
        command = [sys.executable, "-m", "neoseg.train", *self.shared, *_own_arguments(job)]
        with (job.folder / OUTPUT).open("ab") as output:
            process = subprocess.Popen(
                command,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self.running.append(_Running(job, process, gpus))
        where = f" on GPU {', '.join(gpus)}" if gpus else ""
        log.info("started %s%s", job.folder.name, where)

    def _end(self, item: _Running, count: str) -> None:
        self.running.remove(item)
        self.places.give_back(item.gpus)
        # Processes that it has started, one a GPU, must not outlive it.
        with suppress(ProcessLookupError):
            os.killpg(item.process.pid, signal.SIGKILL)
        status = item.process.returncode
        if item.job.state != "running" and status not in (0, 128 + signal.SIGTERM):
            # Whoever could say more has done so already.
            output = item.job.folder / OUTPUT
            note_failure(item.job.folder, f"{_words(status)}: {last_line(output)} (see {output})")
        what = item.job.reason or "finished"
        seconds = time.monotonic() - item.started
        log.info("%s after %.0f s: %s (%s)", item.job.folder.name, seconds, what, count)

    def _stop(self) -> None:
        """Let all jobs save where they are, then end what is left of them.

        A further Ctrl-C ends them at once.
        """
        try:
            for item in self.running:
                item.process.terminate()
            deadline = time.monotonic() + self.settings.grace
            for item in self.running:
                with suppress(subprocess.TimeoutExpired):
                    item.process.wait(max(0.0, deadline - time.monotonic()))
        finally:
            for item in self.running:
                with suppress(ProcessLookupError):
                    os.killpg(item.process.pid, signal.SIGKILL)
                item.process.wait()


def last_line(path: Any) -> str:
    """Return the last line of a text file that says something of its own."""
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return ""
    telling = (line.strip() for line in reversed(lines) if HYDRAS not in line)
    return next(filter(None, telling), "")


def _words(status: int) -> str:
    return f"killed by {signal.Signals(-status).name}" if status < 0 else f"exit status {status}"


def _shared_arguments(config: DictConfig) -> list[str]:
    """Return the options of the sweep's command that its jobs need as well."""
    arguments = ["--config-name", str(config.hydra.job.config_name)]
    for source in config.hydra.runtime.config_sources:
        if source.provider == "command-line":
            arguments += ["--config-dir", str(source.path)]
    return arguments


def _own_arguments(job: Job) -> list[str]:
    kept = [item for item in job.overrides if not _key(item).startswith("cluster")]
    for item in job.hydra_overrides:
        key = _key(item)
        if not key.startswith(("hydra.mode", "hydra.sweep", "hydra.launcher", "hydra/")):
            kept.append(item)
    return [*kept, "cluster=none", "hydra.mode=RUN", f"hydra.run.dir={quoted(str(job.folder))}"]


def _key(override: str) -> str:
    return override.split("=")[0].lstrip("+~")


@contextmanager
def _ending_on_signals() -> Iterator[None]:
    def handler(signum: int, _: FrameType | None) -> None:
        sys.exit(128 + signum)

    # SIGHUP comes when the terminal is closed; where it is ignored (nohup), it stays so.
    names = [signal.SIGTERM, *([signal.SIGHUP] if hasattr(signal, "SIGHUP") else [])]
    before = {name: signal.getsignal(name) for name in names}
    for name in names:
        if before[name] is not signal.SIG_IGN:
            signal.signal(name, handler)
    try:
        yield
    finally:
        for name in names:
            signal.signal(name, before[name])
