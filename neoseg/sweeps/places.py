"""Which GPUs a job of this machine may use."""

from __future__ import annotations

import os
from collections.abc import Sequence
from itertools import takewhile

from neoseg.findings.settings import ConfigError


class Places:
    """Gives GPUs out, each to a fixed number of jobs at a time.

    Args:
        gpus: as `CUDA_VISIBLE_DEVICES` names them; none where jobs need no GPU.
        per_gpu: jobs that share one.
        jobs: at the same time; None is as many as find a place, or one without GPUs.
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
        """Return the GPUs of a job that needs so many, the emptiest first; None if it must wait."""
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
        """Take back what a job has had."""
        for gpu in gpus:
            self._free[gpu] += 1
        if self._jobs is not None:
            self._jobs += 1


def visible_gpus() -> list[str]:
    """Return the names of the GPUs that this process may use."""
    told = os.environ.get("CUDA_VISIBLE_DEVICES")
    if told is not None:
        names = [name.strip() for name in told.split(",")]
        # As CUDA reads it: what stands behind a number that is none does not count.
        return list(takewhile(lambda name: name not in ("", "-1"), names))
    import torch

    return [str(number) for number in range(torch.cuda.device_count())]
