"""Energy used by the machine during a run, if its counters are readable."""

import ctypes
import math
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

import torch

POWERCAP = Path("/sys/class/powercap")
_PACKAGES = "intel-rapl:[0-9]*"


class EnergyMeter:
    """Measure energy from its creation on: processor packages (RAPL) and GPUs (NVML).

    The counters are those of the devices, so other processes on them are included; memory, disks
    and fans are not. On most systems only root can read the processor counters.
    """

    def __init__(
        self,
        powercap: Path = POWERCAP,
        gpus: Sequence[Callable[[], float]] | None = None,
    ) -> None:
        self._packages = [p for p in map(_Package, _package_folders(powercap)) if p.update()]
        self._gpus = [(read, read()) for read in (gpu_counters() if gpus is None else gpus)]

    def joules(self) -> dict[str, float | None]:
        """Return the energy so far by kind of device, None if it cannot be measured.

        Counters wrap around after some minutes, and must be read within that time.
        """
        for package in self._packages:
            package.update()
        processors = sum(package.joules for package in self._packages)
        gpus = sum(read() - start for read, start in self._gpus)
        return {
            "processors": round(processors, 1) if self._packages else None,
            "gpus": round(gpus, 1) if self._gpus and not math.isnan(gpus) else None,
        }


class _Package:
    """A RAPL counter in microjoules, which wraps around at its range."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._last: int | None = None
        self._lock = threading.Lock()
        self.joules = 0.0

    def update(self) -> bool:
        """Add the energy used since the last reading; return whether the counter was readable."""
        try:
            now = int((self._folder / "energy_uj").read_text())
            limit = int((self._folder / "max_energy_range_uj").read_text())
        except (OSError, ValueError):
            return False
        with self._lock:
            if self._last is not None:
                used = now - self._last
                self.joules += (used if used >= 0 else used + limit) / 1e6
            self._last = now
        return True


def _package_folders(powercap: Path) -> list[Path]:
    # Subzones of a package (`intel-rapl:0:0`) are included in its counter already.
    return [path for path in sorted(powercap.glob(_PACKAGES)) if path.name.count(":") == 1]


def gpu_counters() -> list[Callable[[], float]]:
    """Return a function per visible NVIDIA GPU that reads its energy counter in joules."""
    if not torch.cuda.is_available():
        return []
    try:
        nvml = ctypes.CDLL("libnvidia-ml.so.1")
        if nvml.nvmlInit_v2():
            return []
        names = [
            f"GPU-{torch.cuda.get_device_properties(number).uuid}"
            for number in range(torch.cuda.device_count())
        ]
        counters = [nvml_counter(nvml, name) for name in names]
    except (OSError, AttributeError, RuntimeError):
        return []
    return [read for read in counters if read is not None]


def nvml_counter(nvml: ctypes.CDLL, uuid: str) -> Callable[[], float] | None:
    """Return a function that reads the counter of one GPU in joules; None if it has no counter."""
    handle = ctypes.c_void_p()
    if nvml.nvmlDeviceGetHandleByUUID(uuid.encode(), ctypes.byref(handle)):
        return None

    def read() -> float:
        millijoules = ctypes.c_ulonglong()
        if nvml.nvmlDeviceGetTotalEnergyConsumption(handle, ctypes.byref(millijoules)):
            return float("nan")
        return millijoules.value / 1000

    return None if math.isnan(read()) else read
