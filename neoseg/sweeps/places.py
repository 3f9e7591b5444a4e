"""Assignment of this machine's GPUs to jobs."""

import os
from collections.abc import Sequence
from itertools import takewhile

from neoseg.findings.settings import ConfigError


class Places:
    """Assign GPUs to jobs, each to a fixed number of jobs at a time.

    Args:
        gpus: as in `CUDA_VISIBLE_DEVICES`; empty if jobs need no GPU.
        per_gpu: number of jobs that share a GPU.
        jobs: largest number of jobs at a time; None: as many as the GPUs allow, 1 without GPUs.
    """

    def __init__(self, gpus: Sequence[str], per_gpu: int = 1, jobs: int | None = None) -> None:
        self._free = dict.fromkeys(gpus, per_gpu)
        self._jobs = jobs if jobs is not None or gpus else 1

    def require(self, devices: int) -> None:
        """Raise `ConfigError` for a job that needs more GPUs than there are."""
        if self._free and devices > len(self._free):
            raise ConfigError(
                f"trainer.devices is {devices}, and cluster=local has {len(self._free)} GPUs"
            )

    def take(self, devices: int) -> tuple[str, ...] | None:
        """Assign `devices` GPUs to a job, the least used first; None if the job has to wait."""
        if self._jobs == 0:
            return None
        chosen: tuple[str, ...] = ()
        if self._free:
            emptiest = sorted(self._free, key=lambda gpu: -self._free[gpu])[:devices]
            if not all(self._free[gpu] for gpu in emptiest):
                return None
            chosen = tuple(emptiest)
        for gpu in chosen:
            self._free[gpu] -= 1
        if self._jobs is not None:
            self._jobs -= 1
        return chosen

    def give_back(self, gpus: Sequence[str]) -> None:
        """Release the GPUs of a job that has ended."""
        for gpu in gpus:
            self._free[gpu] += 1
        if self._jobs is not None:
            self._jobs += 1


def visible_gpus() -> list[str]:
    """Return the names of the GPUs that this process may use."""
    variable = os.environ.get("CUDA_VISIBLE_DEVICES")
    if variable is not None:
        names = [name.strip() for name in variable.split(",")]
        # As in CUDA, an invalid entry hides all entries after it.
        return list(takewhile(lambda name: name not in ("", "-1"), names))
    import torch

    return [str(number) for number in range(torch.cuda.device_count())]
