"""The resources of the machine that a plan is made for."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from neoseg.capacity import free_memory, usable_cores
from neoseg.configuration.run import RunConfig
from neoseg.planning.cost import Counted, memory_of, on_gpu

FLOPS_PER_CORE = 60e9
"""Floating-point operations per step and core: about two seconds."""

MAX_CORES = 16
"""Largest number of cores considered; more hardly speed up a step of this size."""

MAX_GPU_MEMORY = 24 << 30
"""Largest GPU memory in bytes that a step is planned for, as in nnU-Net's larger presets."""

MEMORY_SHARE = 0.8
"""Share of the available memory that a step may use."""


@dataclass(frozen=True)
class Machine:
    """Resources that are available to a training step.

    Attributes:
        gpu: whether it runs on a GPU.
        memory: available bytes per device.
        cores: number of usable cores of this machine.
        devices: number of devices that share a step.
    """

    gpu: bool
    memory: int
    cores: int
    devices: int

    @classmethod
    def of(cls, run: RunConfig) -> Machine:
        """Return the resources that a run would use on this machine."""
        gpu = on_gpu(run)
        memory = free_memory()
        if gpu:
            memory = min(torch.cuda.get_device_properties(0).total_memory, MAX_GPU_MEMORY)
        return cls(gpu, memory, usable_cores(), run.trainer.processes)

    def affords(self, counted: Counted, batch: int, half: bool) -> bool:
        """Return whether a device can run a step with a batch of this size."""
        if memory_of(counted, batch, 0.5 if half else 1.0) > MEMORY_SHARE * self.memory:
            return False
        return self.gpu or counted.flops * batch <= FLOPS_PER_CORE * min(self.cores, MAX_CORES)
