"""Cores and memory of this machine or cluster job, and the number of processes that they allow."""

import math
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Annotated

from pydantic import Field

GROUPS, OWN_GROUPS = Path("/sys/fs/cgroup"), Path("/proc/self/cgroup")
V2 = ("memory.max", "memory.current", "inactive_file")
V1 = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
STAT = "memory.stat"
"""Control-group files of version 2 and 1: limit, usage, and the key in `STAT` of cached bytes."""

MAX_PROCESSES = 256
"""Largest number of processes that a setting may ask for; a slip of 10^9 would end the machine."""

Processes = Annotated[int, Field(ge=1, le=MAX_PROCESSES)]

BYTES_PER_SCAN = 2 << 30
"""Memory in bytes that preparing one large scan may need."""

MIN_BYTES_PER_PROCESS = 64 << 20
"""Bytes of compressed input that justify starting a process, which takes some seconds."""


def count_processes(wanted: int | None, sizes: Sequence[int]) -> int:
    """Return how many processes to start for files of these sizes (bytes), one file per task.

    `wanted` if given, else the number of usable cores, limited by the free memory and by the
    amount of work; never more than the number of files.
    """
    if wanted is not None:
        return max(1, min(wanted, len(sizes)))
    limits = (
        len(sizes),
        usable_cores(),
        free_memory() // BYTES_PER_SCAN,
        -(-sum(sizes) // MIN_BYTES_PER_PROCESS),
    )
    return max(1, min(limits))


def count_loaders(cores: int, accelerated: bool) -> int:
    """Return how many processes should load patches for a training process with `cores` cores.

    With an accelerator, one per core, up to 8. On a CPU, each operation of the training is spread
    over all cores, and a core that is busy with something else holds up the others; with few cores
    it is fastest if the training process extracts patches itself.
    """
    return max(1, min(cores, 8)) if accelerated else min(cores // 4, 4)


def usable_cores() -> int:
    """Return the number of cores that this process may use, within its control-group quotas."""
    cores = os.cpu_count() or 1
    if hasattr(os, "sched_getaffinity"):
        cores = len(os.sched_getaffinity(0))
    return max(1, min([cores, *map(math.ceil, _group_cores(GROUPS, OWN_GROUPS))]))


def free_memory() -> int:
    """Return the bytes of memory available now, within the limit of a cluster job."""
    limits = list(_group_memory(GROUPS, OWN_GROUPS))
    if hasattr(os, "sysconf"):
        limits.append(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    with suppress(OSError, ValueError, IndexError):  # not Linux
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
        limits += [int(line.split()[1]) << 10 for line in lines if line.startswith("MemAvailable")]
    return min(limits, default=sys.maxsize)


def _group_cores(root: Path, own: Path) -> Iterator[float]:
    """Yield the CPU quota, in cores, of each control group of this process (Linux)."""
    for folder, is_v2 in _groups(root, own, "cpu"):
        with suppress(OSError, ValueError):  # "max": no limit
            if is_v2:
                quota, period = map(int, (folder / "cpu.max").read_text().split())
            else:
                quota = int((folder / "cpu.cfs_quota_us").read_text())
                period = int((folder / "cpu.cfs_period_us").read_text())
            if quota > 0 and period > 0:
                yield quota / period


def _group_memory(root: Path, own: Path) -> Iterator[int]:
    """Yield the free bytes within the limit of each control group of this process (Linux).

    Inactive page cache counts as free, as the kernel reclaims it when memory is short.
    """
    for folder, is_v2 in _groups(root, own, "memory"):
        files = V2 if is_v2 else V1
        with suppress(OSError, ValueError):
            limit, used = (int((folder / file).read_text()) for file in files[:2])
            fields = (text.split() for text in (folder / STAT).read_text().splitlines())
            cached = {key: int(value) for key, value in fields}.get(files[2], 0)
            yield max(0, limit - used + cached)


def _groups(root: Path, own: Path, controller: str) -> Iterator[tuple[Path, bool]]:
    """Yield the folder of each control group of this process, and whether it is version 2.

    Parent groups are included: a cluster limits the group of a job, which may have subgroups.
    """
    with suppress(OSError):
        for line in own.read_text(encoding="ascii").splitlines():
            _, controllers, name = line.split(":", 2)
            if controllers and controller not in controllers.split(","):
                continue
            # Version 2 has a single hierarchy, version 1 one for each controller.
            top = root / controller if controllers else root
            group = top / name.lstrip("/")
            for folder in (group, *group.parents):
                if not folder.is_relative_to(top):
                    break
                yield folder, not controllers
