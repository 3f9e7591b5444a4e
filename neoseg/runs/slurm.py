"""What SLURM tells a process of the job that it belongs to."""

from __future__ import annotations

import os

from lightning.fabric.plugins.environments.cluster_environment import ClusterEnvironment
from lightning.fabric.plugins.environments.lightning import LightningEnvironment
from lightning.fabric.plugins.environments.slurm import SLURMEnvironment

INTERACTIVE = ("bash", "interactive")


def cluster_environment() -> ClusterEnvironment | None:
    """Return how the processes of a run find each other, where SLURM is around; else None.

    A process that `srun` started is one of several with numbers of their own. One that was started
    by hand inside an allocation, or from a batch script without `srun`, starts the others itself.
    Lightning never puts a job back into the queue: submitit or the batch script does.
    """
    if "SLURM_JOB_ID" not in os.environ:
        return None
    started_by_srun = "SLURM_STEP_ID" in os.environ and "SLURM_PROCID" in os.environ
    if started_by_srun and os.environ.get("SLURM_JOB_NAME") not in INTERACTIVE:
        return SLURMEnvironment(auto_requeue=False)
    return LightningEnvironment()
