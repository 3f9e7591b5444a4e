"""Run jobs as SLURM arrays, through submitit and Hydra's launcher for it."""

import logging
import re
import shutil
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hydra.core.singleton import Singleton
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig

from neoseg.borrowed import sbatch_file
from neoseg.configuration.cluster import SlurmSettings
from neoseg.failure import forget_failure, note_failure
from neoseg.findings.problems import shorten
from neoseg.findings.settings import ConfigError
from neoseg.sweeps.jobs import Job, compose_job
from neoseg.sweeps.local import last_line

log = logging.getLogger(__name__)

POLL = 2.0
"""Seconds between two checks for results."""

QUEUE_SECONDS = 30.0
"""Seconds between two queries of the queue, for jobs that died without a result."""


def run_on_slurm(
    context: HydraContext,
    task_function: TaskFunction,
    config: DictConfig,
    job_overrides: Sequence[Sequence[str]],
    first: int,
) -> None:
    """Submit jobs, one array per cluster settings and device, and wait for all of them.

    A job that fails or is lost does not stop the others; its folder records why. The jobs continue
    if this process ends. Jobs submitted by an earlier start are waited for.

    Raises:
        ConfigError: invalid keys of `cluster`, a machine without SLURM, or a refusal of `sbatch`.
    """
    jobs = [compose_job(context.config_loader, config, overrides) for overrides in job_overrides]
    submitted = _submitted_before(config, jobs)
    submitted_folders = {job.folder for job, _ in submitted}
    new = list[tuple[int, Job]]()
    for number, job in enumerate(jobs, first):
        if job.folder in submitted_folders:
            continue
        if job.state == "running":
            log.warning("%s is left to a process outside of SLURM", job.folder)
            continue
        new.append((number, job))
    for members in _arrays(new):
        submitted += _submit(context, task_function, config, members)
    log.info("waiting for %d jobs; they go on if this command is ended", len(submitted))
    _wait(submitted)


def sbatch_heads(config: DictConfig, jobs: Sequence[Job]) -> list[str]:
    """Return for each array of jobs which these are, and the file that sbatch would get for it.

    Its last lines, the command, are left out, as are jobs that SLURM has already. Needs no SLURM.

    Raises:
        ConfigError: submitit is not installed.
    """
    numbers = [job.submission for job in jobs if job.submission is not None]
    queued = (_queued(numbers) if numbers else None) or set()
    new = [(number, job) for number, job in enumerate(jobs) if job.submission not in queued]
    texts = []
    for members in _arrays(new):
        names = [job.folder.name for _, job in members]
        array = len(names) if len(names) > 1 else None
        try:
            text = sbatch_file(str(_folder(config)), array, _parameters(config, members[0][1]))
        except ImportError as error:
            raise _not_installed(error) from None
        texts.append(f"sbatch would get, for {shorten(names)}:\n{text.partition('# command')[0]}")
    return texts


def _arrays(jobs: Sequence[tuple[int, Job]]) -> list[list[tuple[int, Job]]]:
    """Return the jobs by what sbatch has to know of them."""
    arrays: dict[str, list[tuple[int, Job]]] = {}
    for number, job in jobs:
        arrays.setdefault(_settings(job).model_dump_json() + _device(job), []).append((number, job))
    return list(arrays.values())


def _parameters(config: DictConfig, job: Job) -> dict[str, Any]:
    return _settings(job).parameters(str(config.sweep), _device(job) == "cpu")


def _not_installed(error: ImportError) -> ConfigError:
    return ConfigError(
        f"cluster=slurm needs hydra-submitit-launcher ({error}); install 'neoseg[slurm]'"
    )


def _submitted_before(config: DictConfig, jobs: Sequence[Job]) -> list[tuple[Job, Any]]:
    """Return the jobs submitted by an earlier start of the sweep that SLURM still has."""
    numbers = {job.submission: job for job in jobs if job.submission is not None}
    if not numbers:
        return []
    from submitit.slurm.slurm import SlurmJob

    queued = _queued(list(numbers))
    if queued is None:
        raise ConfigError(
            "squeue does not say which jobs of this sweep are still queued; start it again when "
            "SLURM answers, or none would be safe from being trained twice"
        )
    pairs: list[tuple[Job, Any]] = []
    for number in sorted(queued & set(numbers)):
        job = numbers[number]
        tasks = list(range(_settings(job).nodes * _settings(job).tasks_per_node))
        pairs.append((job, SlurmJob(_folder(config), number, tasks)))
        log.info("%s is job %s already", job.folder.name, number)
    return pairs


def _folder(config: DictConfig) -> Path:
    return Path(config.hydra.sweep.dir).resolve() / ".submitit" / "%j"


def _settings(job: Job) -> SlurmSettings:
    assert job.run is not None
    assert isinstance(job.run.cluster, SlurmSettings)
    return job.run.cluster


def _device(job: Job) -> str:
    assert job.run is not None
    return job.run.trainer.accelerator


def _submit(
    context: HydraContext,
    task_function: TaskFunction,
    config: DictConfig,
    members: Sequence[tuple[int, Job]],
) -> list[tuple[Job, Any]]:
    """Submit one array; return its jobs paired with submitit's."""
    try:
        import submitit
        from hydra_plugins.hydra_submitit_launcher.submitit_launcher import (
            SlurmLauncher as HydraLauncher,
        )
        from submitit.core.utils import FailedSubmissionError, UncompletedJobError
    except ImportError as error:
        raise _not_installed(error) from None
    for program in ("sbatch", "srun", "squeue"):
        if shutil.which(program) is None:
            raise ConfigError(
                f"cluster=slurm needs SLURM's {program}, which is not on this machine; start the "
                "sweep on a login node, or use cluster=local"
            )
    settings = _settings(members[0][1])
    folder = _folder(config)
    launcher = HydraLauncher(submitit_folder=str(folder))
    launcher.setup(hydra_context=context, task_function=task_function, config=config)
    executor = submitit.AutoExecutor(
        folder=folder, cluster="slurm", slurm_max_num_timeout=settings.requeues
    )
    executor.update_parameters(**_parameters(config, members[0][1]))
    arguments = [
        (list(job.overrides), "hydra.sweep.dir", number, str(number), Singleton.get_state())
        for number, job in members
    ]
    try:
        submissions = executor.map_array(launcher, *zip(*arguments, strict=True))
    except (
        FailedSubmissionError,
        UncompletedJobError,
        subprocess.CalledProcessError,
        OSError,
    ) as error:
        raise ConfigError(_refusal(str(error))) from None
    pairs = [(job, submission) for (_, job), submission in zip(members, submissions, strict=True)]
    for job, submission in pairs:
        forget_failure(job.folder)
        job.submitted_as(submission.job_id)
        log.info("submitted %s as job %s", job.folder.name, submission.job_id)
    return pairs


def _refusal(error: str) -> str:
    """Return in one line why nothing was submitted, and what to do."""
    lines = [line.strip() for line in error.splitlines() if line.strip()]
    reason = "; ".join([line for line in lines if line.startswith("sbatch:")] or lines[-1:])
    if re.search("contact|connect|communicat|timed out|resolve", reason, re.IGNORECASE):
        return (
            f"SLURM does not answer: {reason}. Nothing of this array was submitted; start the same "
            "command again when it does, or use cluster=local"
        )
    return f"sbatch refuses the jobs: {reason}. Look at the keys of cluster"


def _wait(submitted: Sequence[tuple[Job, Any]]) -> None:
    waiting, last_query, missing = list(submitted), time.monotonic(), set[str]()
    while waiting:
        time.sleep(POLL)
        gone = set[str]()
        if time.monotonic() - last_query >= QUEUE_SECONDS or all(job.ended for job, _ in waiting):
            last_query = time.monotonic()
            queued = _queued([submission.job_id for _, submission in waiting])
            absent = {s.job_id for _, s in waiting} - queued if queued is not None else set()
            # Absent twice in a row: a job being requeued may be missing for a moment.
            gone, missing = absent & missing, absent
        for pair in list(waiting):
            job, submission = pair
            has_ended = _has_result(submission) or job.state == "failed"
            if not has_ended and submission.job_id not in gone:
                continue
            waiting.remove(pair)
            if not job.ended and job.state != "running":
                log_file = submission.task(0).paths.stdout
                reason = f"job {submission.job_id} left no result: {last_line(log_file)}"
                note_failure(job.folder, f"{reason} (see {log_file})")
            count = f"{len(submitted) - len(waiting)} of {len(submitted)}"
            log.info("%s: %s (%s)", job.folder.name, job.reason or "finished", count)


def _has_result(submission: Any) -> bool:
    tasks = [submission.task(number) for number in range(submission.num_tasks)]
    return all(task.paths.result_pickle.exists() for task in tasks)


def _queued(ids: Sequence[str]) -> set[str] | None:
    """Return the ids of waiting or running jobs; None if SLURM does not answer."""
    arrays = ",".join(sorted({job_id.split("_")[0] for job_id in ids}))
    command = ["squeue", "--noheader", "--array", "--format=%i", f"--jobs={arrays}"]
    try:
        result = subprocess.run(command, capture_output=True, text=True, timeout=60)
    except (OSError, subprocess.TimeoutExpired):
        return None
    if result.returncode and "Invalid job id" not in result.stderr:
        return None
    return set(result.stdout.split())
