"""Run jobs as separate commands on this machine, several at a time."""

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
"""Output of the command, in the folder of each job."""

HYDRA_HINT = "HYDRA_FULL_ERROR=1"
"""Part of the line that Hydra prints after a traceback."""


def run_here(
    loader: ConfigLoader, config: DictConfig, job_overrides: Sequence[Sequence[str]]
) -> None:
    """Run jobs in separate processes and wait for them; a failed job does not stop the others.

    Each process leads a process group, so that it can start further processes, one per GPU.
    Ctrl-C, SIGTERM and SIGHUP are passed on, so that the jobs save their state.

    Raises:
        ConfigError: invalid keys of `cluster`, or jobs that do not fit this machine.
    """
    jobs = [compose_job(loader, config, overrides) for overrides in job_overrides]
    # `run_sweep` does not launch jobs without `run`.
    runs = [job.run for job in jobs if job.run is not None]
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
        queue, ended = list(jobs), 0
        try:
            while queue or self.running:
                if queue:
                    gpus = self.places.take(queue[0].devices)
                    if gpus is not None:
                        self._start(queue.pop(0), gpus)
                        continue
                time.sleep(0.1)
                for item in [r for r in self.running if r.process.poll() is not None]:
                    ended += 1
                    self._end(item, f"{ended} of {len(jobs)}")
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
        placement = f" on GPU {', '.join(gpus)}" if gpus else ""
        log.info("started %s%s", job.folder.name, placement)

    def _end(self, item: _Running, count: str) -> None:
        self.running.remove(item)
        self.places.give_back(item.gpus)
        # Its child processes, one per GPU, must not outlive it.
        with suppress(ProcessLookupError):
            os.killpg(item.process.pid, signal.SIGKILL)
        status = item.process.returncode
        if item.job.state != "running" and status not in (0, 128 + signal.SIGTERM):
            # Does not replace a more precise reason that the job has recorded itself.
            output = item.job.folder / OUTPUT
            note_failure(
                item.job.folder, f"{_describe_exit(status)}: {last_line(output)} (see {output})"
            )
        outcome = item.job.reason or "finished"
        seconds = time.monotonic() - item.started
        log.info("%s after %.0f s: %s (%s)", item.job.folder.name, seconds, outcome, count)

    def _stop(self) -> None:
        """Let all jobs save their state, then kill those that remain after the grace period.

        A further Ctrl-C kills them at once.
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
    """Return the last informative line of a text file, or ""."""
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return ""
    informative = (line.strip() for line in reversed(lines) if HYDRA_HINT not in line)
    return next(filter(None, informative), "")


def _describe_exit(status: int) -> str:
    return f"killed by {signal.Signals(-status).name}" if status < 0 else f"exit status {status}"


def _shared_arguments(config: DictConfig) -> list[str]:
    """Return the options of the sweep's command that its jobs need as well."""
    arguments = ["--config-name", str(config.hydra.job.config_name)]
    for source in config.hydra.runtime.config_sources:
        if source.provider == "command-line":
            arguments += ["--config-dir", str(source.path)]
    return arguments


def _own_arguments(job: Job) -> list[str]:
    overrides = [item for item in job.overrides if not _key(item).startswith("cluster")]
    for item in job.hydra_overrides:
        key = _key(item)
        if not key.startswith(("hydra.mode", "hydra.sweep", "hydra.launcher", "hydra/")):
            overrides.append(item)
    return [
        *overrides,
        "cluster=none",
        "hydra.mode=RUN",
        f"hydra.run.dir={quoted(str(job.folder))}",
    ]


def _key(override: str) -> str:
    return override.split("=")[0].lstrip("+~")


@contextmanager
def _ending_on_signals() -> Iterator[None]:
    def handler(signum: int, _: FrameType | None) -> None:
        sys.exit(128 + signum)

    # SIGHUP is sent when the terminal is closed; if it is ignored (nohup), it stays ignored.
    signals = [signal.SIGTERM, *([signal.SIGHUP] if hasattr(signal, "SIGHUP") else [])]
    previous = {number: signal.getsignal(number) for number in signals}
    for number in signals:
        if previous[number] is not signal.SIG_IGN:
            signal.signal(number, handler)
    try:
        yield
    finally:
        for number in signals:
            signal.signal(number, previous[number])
