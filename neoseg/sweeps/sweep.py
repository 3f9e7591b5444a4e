"""Restartable sweeps: ended jobs are skipped, failed jobs are listed."""

import json
import logging
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import torch
from hydra.core.config_loader import ConfigLoader
from hydra.types import HydraContext
from omegaconf import DictConfig, OmegaConf
from rich.markup import escape

from neoseg.failure import forget_failure, note_failure
from neoseg.findings.problems import shorten
from neoseg.findings.settings import ConfigError
from neoseg.networks import NetworkError, build_network
from neoseg.runs.origin import differing
from neoseg.sweeps.jobs import Job, compose_job
from neoseg.sweeps.overview import dry_run_table, results_table, wide_console
from neoseg.sweeps.slurm import sbatch_heads

log = logging.getLogger(__name__)

Launch = Callable[[Sequence[Sequence[str]], int], Sequence[Any]]


def run_sweep(
    context: HydraContext,
    config: DictConfig,
    batches: Sequence[Sequence[Sequence[str]]],
    launch: Launch,
) -> list[Sequence[Any]]:
    """Run the jobs of a sweep that have not ended, and return what the launcher returned.

    The process exits with status 1 if a job has not ended well, with 2 if none could be started.
    `batches` are the overrides of each job, in the groups that `launch` starts and waits for.
    """
    loader: ConfigLoader = context.config_loader
    folder = Path(config.hydra.sweep.dir)
    folder.mkdir(parents=True, exist_ok=True)
    OmegaConf.save(config, folder / "multirun.yaml")
    jobs = [
        [_with_network(compose_job(loader, config, overrides)) for overrides in batch]
        for batch in batches
    ]
    everything = [job for batch in jobs for job in batch]
    try:
        _require_own_folders(everything)
        _require_same(everything)
        open_jobs = [job for job in everything if not job.ended]
        problems = _describe_invalid(open_jobs)
        if config.get("dry_run"):
            console = wide_console()
            console.print(dry_run_table(everything, config.get("seconds_per_step")))
            for batch in jobs if _on_slurm(config) else ():
                todo = [j for j in batch if j.run and not (j.ended or j.state == "running")]
                for text in sbatch_heads(config, todo):
                    console.print(text, markup=False, highlight=False, soft_wrap=True)
            if problems:
                raise ConfigError(problems)
            return []
        if problems and all(job.problem for job in open_jobs):
            raise ConfigError(f"{problems}\nNothing was started")
        if problems:
            log.error("%s\nThe others are started", problems)
        returns = []
        first = 0
        for batch in jobs:
            # Jobs running on SLURM are waited for by its launcher.
            elsewhere = [j for j in batch if j.state == "running" and not _on_slurm(config)]
            invalid = [job for job in batch if job.problem and not job.ended]
            for job in invalid:
                forget_failure(job.folder)
                note_failure(job.folder, job.problem)
            todo = [j for j in batch if not (j.ended or j in elsewhere or j in invalid)]
            for job in batch:
                if job.ended:
                    log.info("%s is finished already", job.folder)
            for job in elsewhere:
                log.warning("%s is left to another process, which is training there", job.folder)
            if todo:
                returns.append(launch([job.overrides for job in todo], first))
            first += len(todo)
    except ConfigError as error:
        log.error("%s", error)
        sys.exit(2)
    _conclude(everything)
    return returns


def _on_slurm(config: DictConfig) -> bool:
    return str(config.hydra.launcher._target_).endswith("SlurmLauncher")


def _with_network(job: Job) -> Job:
    """Return the job, with a problem if its network cannot be built."""
    if job.run is None or job.ended:
        return job
    problem = _network_problem(json.dumps(job.run.network), job.run.patches.size, job.run.allow)
    return replace(job, run=None, problem=problem) if problem else job


@cache
def _network_problem(network: str, size: tuple[int, int, int], allow: tuple[str, ...]) -> str:
    """Build a network without allocating weights; return the error message or ""."""
    try:
        with torch.device("meta"):
            build_network(json.loads(network), 1, 2, size, allow)
    except NetworkError as error:
        return str(error)
    return ""


def _conclude(jobs: Sequence[Job]) -> None:
    ended = sum(job.ended for job in jobs)
    log.info("%d of %d jobs have finished", ended, len(jobs))
    if ended == len(jobs):
        return
    console = wide_console()
    console.print(results_table(jobs))
    folder = jobs[0].folder.parent
    console.print(f"Started again, the sweep goes on with these jobs, in {escape(str(folder))}")
    sys.exit(1)


def _require_own_folders(jobs: Sequence[Job]) -> None:
    by_folder: dict[Path, Job] = {}
    for job in jobs:
        if job.folder in by_folder:
            raise ConfigError(
                f"two jobs of the sweep have the folder {job.folder}: '{' '.join(job.overrides)}' "
                f"and '{' '.join(by_folder[job.folder].overrides)}'; sweep over keys that change a "
                "result, or name the folders apart with hydra.sweep.subdir"
            )
        by_folder[job.folder] = job


def _require_same(jobs: Sequence[Job]) -> None:
    """Raise `ConfigError` if folders hold runs with other settings or on other data."""
    differences = [text for job in jobs if job.run and (text := differing(job.run, job.folder))]
    if differences:
        suffix = f"\n{len(differences) - 1} more jobs differ" if len(differences) > 1 else ""
        raise ConfigError(f"{differences[0]}{suffix}. Nothing was started")


def _describe_invalid(jobs: Sequence[Job]) -> str:
    """Describe the jobs with invalid settings; "" if there are none."""
    by_problem: dict[str, list[str]] = {}
    for job in jobs:
        if job.problem:
            by_problem.setdefault(job.problem, []).append(job.folder.name)
    if not by_problem:
        return ""
    lines = (f"  - {shorten(names)}: {problem}" for problem, names in by_problem.items())
    count = sum(map(len, by_problem.values()))
    return f"{count} of {len(jobs)} jobs of the sweep cannot work:\n" + "\n".join(lines)
