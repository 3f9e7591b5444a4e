"""Checks one by one: each is a row that is printed and appended to a CSV as soon as it is there."""

from __future__ import annotations

import csv
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, fields
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch

ROOT = Path(__file__).resolve().parents[3]


class NotHereError(Exception):
    """What a check needs is not on this machine; the message says what."""


@dataclass(frozen=True)
class Found:
    """What a check has found.

    Attributes:
        value: the figure, in `unit`.
        most, least: limits that it must keep; None: none, it is a measurement.
        note: what else is worth knowing.
    """

    value: float
    unit: str
    most: float | None = None
    least: float | None = None
    note: str = ""

    @property
    def status(self) -> str:
        """Say whether the limits are kept; what is not a number keeps none."""
        if self.most is None and self.least is None:
            return "measured"
        kept = (self.most is None or self.value <= self.most) and (
            self.least is None or self.value >= self.least
        )
        return "right" if kept else "MISSED"


@dataclass(frozen=True)
class Row:
    """A line of the CSV."""

    part: str
    check: str
    status: str
    value: str = ""
    unit: str = ""
    limit: str = ""
    note: str = ""
    seconds: str = ""
    device: str = ""
    driver: str = ""
    torch: str = ""
    versions: str = ""
    code: str = ""
    dry: str = ""


GOOD = {"right", "measured"}
"""What need not be done again."""


@dataclass
class Bench:
    """Where checks are made, and what becomes of them.

    Attributes:
        part: whose checks these are.
        device: on which they are made.
        dry: at toy size, to see that everything runs; then times have no limits.
        results: the CSV; what stands there for this device and code is not made again.
        scratch: a folder for files of the checks.
        until: `time.monotonic()` at which no further check is begun.
        real: folders of real scans, by the name of their ablation.
    """

    part: str
    device: torch.device
    dry: bool
    results: Path
    scratch: Path
    until: float = float("inf")
    real: dict[str, str] = field(default_factory=dict)
    rows: list[Row] = field(default_factory=list)

    def check(self, name: str, measure: Callable[[], Found]) -> None:
        """Make one check, whatever becomes of it."""
        if self._is_done(name):
            print(f"  {self.part:12} {name:44} is in {self.results.name}", flush=True)
            return
        if time.monotonic() > self.until:
            self.add(name, "no time left")
            return
        start = time.perf_counter()
        try:
            found = measure()
        except NotHereError as reason:
            self.add(name, "not here", note=str(reason))
        except torch.OutOfMemoryError as error:
            self.add(name, "out of memory", note=_first(error))
        except Exception as error:  # the failure of one check is its row
            self.add(name, "FAILED", note=f"{type(error).__name__}: {_first(error)}")
        else:
            limits = {"at most": found.most, "at least": found.least}
            self.add(
                name,
                found.status,
                value=f"{found.value:.4g}",
                unit=found.unit,
                limit=" ".join(f"{k} {v:.4g}" for k, v in limits.items() if v is not None),
                note=found.note,
                seconds=f"{time.perf_counter() - start:.1f}",
            )
        if self.device.type == "cuda":
            torch.cuda.empty_cache()

    def add(self, name: str, status: str, **values: str) -> None:
        """Print a row and keep it."""
        row = Row(self.part, name, status, **values, **about(self.device), dry=str(int(self.dry)))
        figure = f"{row.value} {row.unit}".strip() + (f" ({row.limit})" if row.limit else "")
        print(f"  {self.part:12} {name:44} {status:13} {figure}  {row.note}", flush=True)
        self.rows.append(row)
        new = not self.results.is_file()
        with self.results.open("a", newline="", encoding="utf-8") as stream:
            writer = csv.DictWriter(stream, [f.name for f in fields(Row)])
            if new:
                writer.writeheader()
            writer.writerow(asdict(row))

    def _is_done(self, name: str) -> bool:
        here = {**about(self.device), "part": self.part, "check": name, "dry": str(int(self.dry))}
        return any(
            row["status"] in GOOD and all(row[key] == value for key, value in here.items())
            for row in read(self.results)
        )

    def limit(self, value: float) -> float | None:
        """Return a limit on times, which hold for a whole GPU alone."""
        return None if self.dry else value

    def seconds(self, run: Callable[[], object], repeats: int = 5, warm: int = 2) -> float:
        """Return the median time of some calls, all of their work on the device included."""
        times = []
        for number in range(warm + repeats):
            start = time.perf_counter()
            run()
            self.wait()
            if number >= warm:
                times.append(time.perf_counter() - start)
        return statistics.median(times)

    def kernels(self, run: Callable[[], object], times: int = 3) -> float:
        """Return the seconds in which kernels of a call run, without those between them.

        Raises:
            NotHereError: on a CPU, where the profiler sees none.
        """
        need_gpu(self)
        activities = [torch.profiler.ProfilerActivity.CUDA]
        with torch.profiler.profile(activities=activities) as profile:
            for _ in range(times):
                run()
            self.wait()
        return sum(event.self_device_time_total for event in profile.key_averages()) / times / 1e6

    def wait(self) -> None:
        """Wait for the device."""
        if self.device.type == "cuda":
            torch.cuda.synchronize()

    def peak(self, run: Callable[[], object]) -> float:
        """Return the bytes that a call needs on the device at its worst, beyond those before it.

        Raises:
            NotHereError: on a CPU, which does not count them.
        """
        if self.device.type != "cuda":
            raise NotHereError("memory is counted on a GPU")
        self.wait()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        run()
        self.wait()
        return float(torch.cuda.max_memory_allocated() - before)


def need_gpu(bench: Bench) -> None:
    """Raise `NotHereError` on a CPU."""
    if bench.device.type != "cuda":
        raise NotHereError("needs a GPU")


def read(path: Path) -> list[dict[str, str]]:
    """Return the rows of a file of results, none where there is none."""
    if not path.is_file():
        return []
    with path.open(newline="", encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


@cache
def about(device: torch.device) -> dict[str, str]:
    """Return what a figure depends on beside the check: device, driver, versions and code."""
    name = platform.processor() or platform.machine()
    driver = ""
    if device.type == "cuda":
        name = torch.cuda.get_device_name(device)
        driver = _output(["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"])
    packages = ("monai", "lightning", "triton", "nnunetv2")
    found = {p: v for p in packages if (v := _version(p)) is not None}
    return {
        "device": name,
        "driver": driver.partition("\n")[0],
        "torch": f"{torch.__version__} CUDA {torch.version.cuda}",
        "versions": " ".join(f"{p} {v}" for p, v in found.items()),
        "code": _output(["git", "-C", str(ROOT), "describe", "--always", "--dirty"]),
    }


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _output(command: list[str]) -> str:
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=20).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return ""


def _first(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [""])[0][:300]


def use_tests() -> None:
    """Make the tests' small batches and runs importable, which the checks use on the device."""
    for folder in (ROOT / "tests" / "losses", ROOT / "tests"):
        if str(folder) not in sys.path:
            sys.path.append(str(folder))
