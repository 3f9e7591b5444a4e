"""Energy from counters that start again, from GPUs, and from nowhere."""

from __future__ import annotations

import ctypes
import threading
import time
from pathlib import Path

import pytest

from neoseg.runs.effort import effort_counted
from neoseg.runs.energy import EnergyMeter, nvml_counter


@pytest.fixture
def powercap(tmp_path: Path) -> Path:
    for name in ("intel-rapl:0", "intel-rapl:1", "intel-rapl:0:0"):
        folder = tmp_path / name
        folder.mkdir()
        (folder / "max_energy_range_uj").write_text("10000000\n")
        (folder / "energy_uj").write_text("9000000\n")
    return tmp_path


def use(powercap: Path, name: str, microjoules: int) -> None:
    (powercap / name / "energy_uj").write_text(f"{microjoules}\n")


def test_packages_are_added_and_their_parts_are_not(powercap) -> None:
    meter = EnergyMeter(powercap, gpus=[])
    use(powercap, "intel-rapl:0", 9_500_000)
    use(powercap, "intel-rapl:1", 9_300_000)
    use(powercap, "intel-rapl:0:0", 9_900_000)
    assert meter.joules() == {"processors": 0.8, "gpus": None}


def test_a_counter_that_starts_again_goes_on(powercap) -> None:
    meter = EnergyMeter(powercap, gpus=[])
    use(powercap, "intel-rapl:0", 500_000)
    assert meter.joules()["processors"] == 1.5
    use(powercap, "intel-rapl:0", 700_000)
    assert meter.joules()["processors"] == 1.7


def test_the_effort_of_a_run_reads_in_between(
    powercap: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two rounds of the counter between two questions are seen, and no thread is left."""
    before = set(threading.enumerate())
    meter = EnergyMeter(powercap, gpus=[])
    monkeypatch.setattr("neoseg.runs.effort.EnergyMeter", lambda: meter)
    (package, _) = meter._packages
    with effort_counted(powercap, period=0.01) as effort:
        for microjoules in (1_000_000, 9_000_000, 1_000_000):
            use(powercap, "intel-rapl:0", microjoules)
            deadline = time.monotonic() + 30
            while package._last != microjoules:
                assert time.monotonic() < deadline
                time.sleep(0.005)
        assert effort.joules()["processors"] == 12.0
    assert set(threading.enumerate()) == before


def test_gpus_are_added(tmp_path) -> None:
    values = [100.0, 40.0]
    meter = EnergyMeter(tmp_path, gpus=[lambda: values[0], lambda: values[1]])
    values[:] = [160.0, 45.0]
    assert meter.joules() == {"processors": None, "gpus": 65.0}
    values[0] = float("nan")
    assert meter.joules()["gpus"] is None


def test_nothing_to_read_is_not_applicable(tmp_path) -> None:
    (tmp_path / "intel-rapl:0").mkdir()  # as where the counter is for root alone
    assert EnergyMeter(tmp_path, gpus=[]).joules() == {"processors": None, "gpus": None}


class FakeLibrary:
    """The two functions of NVML that are used; counts in millijoules."""

    def __init__(self, status: int = 0) -> None:
        self.status = status
        self.names: list[bytes] = []

    def nvmlDeviceGetHandleByUUID(self, name: bytes, handle: object) -> int:  # noqa: N802
        self.names.append(name)
        return 0

    def nvmlDeviceGetTotalEnergyConsumption(self, handle: object, value: object) -> int:  # noqa: N802
        ctypes.cast(value, ctypes.POINTER(ctypes.c_ulonglong))[0] = 2500
        return self.status


def test_gpu_counters_read_joules() -> None:
    library = FakeLibrary()
    read = nvml_counter(library, "GPU-1")
    assert read is not None
    assert (read(), library.names) == (2.5, [b"GPU-1"])
    assert nvml_counter(FakeLibrary(status=3), "GPU-1") is None  # too old a device


def test_a_package_that_cannot_be_read_once_keeps_what_it_had(powercap) -> None:
    meter = EnergyMeter(powercap, gpus=[])
    use(powercap, "intel-rapl:0", 9_500_000)
    assert meter.joules()["processors"] == 0.5
    (powercap / "intel-rapl:0" / "energy_uj").write_text("")
    use(powercap, "intel-rapl:1", 9_300_000)
    assert meter.joules()["processors"] == 0.8
