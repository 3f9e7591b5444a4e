"""The machine for which a plan is made."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from neoseg.capacity import free_memory, usable_cores
from neoseg.configuration.run import RunConfig
from neoseg.planning.cost import Counted, memory_of, on_gpu

CPU_STEP = 60e9
"""Floating-point operations of a step that a core is given: about two seconds of it."""

CPU_CORES = 16
"""Cores that count; more hardly help a step of this size."""

GPU_MEMORY = 24 << 30
"""Bytes of a GPU at most that a step is made for, as nnU-Net's larger presets."""

SHARE = 0.8
"""Of the memory at hand that a step may take."""


@dataclass(frozen=True)
class Machine:
    """What a step may use.

    Attributes:
        gpu: whether it is for one.
        memory: bytes at hand for each device.
        cores: of this machine.
        devices: that share a step.
    """

    gpu: bool
    memory: int
    cores: int
    devices: int

    @classmethod
    def of(cls, run: RunConfig) -> Machine:
        """Return the machine as a run would use it."""
        gpu = on_gpu(run)
        memory = free_memory()
        if gpu:
            memory = min(torch.cuda.get_device_properties(0).total_memory, GPU_MEMORY)
        return cls(gpu, memory, usable_cores(), run.trainer.processes)

    def affords(self, counted: Counted, batch: int, half: bool) -> bool:
        """Tell whether a device can do a step with so many items."""
        if memory_of(counted, batch, 0.5 if half else 1.0) > SHARE * self.memory:
            return False
        return self.gpu or counted.flops * batch <= CPU_STEP * min(self.cores, CPU_CORES)
