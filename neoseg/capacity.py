"""What this machine, or a cluster's job, offers: how many processes its cores and memory allow."""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

GROUPS, OWN_GROUPS = Path("/sys/fs/cgroup"), Path("/proc/self/cgroup")
V2 = ("memory.max", "memory.current", "inactive_file")
V1 = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
STAT = "memory.stat"
"""Files of a control group: the limit, what is used, and in the third file what of it is cached."""

MEMORY = 2 << 30
"""Bytes that the preparation of one large scan may need."""

WORTH = 64 << 20
"""Bytes of packed input that are worth the start of a process, which takes some seconds."""


def count_processes(wanted: int | None, sizes: Sequence[int]) -> int:
    """Return how many processes to start for files of these sizes (bytes), one per piece of work.

    Unless `wanted` says so: the cores that this process may use, as far as memory suffices and the
    work is worth it.
    """
    if wanted is not None:
        return max(1, min(wanted, len(sizes)))
    limits = (len(sizes), usable_cores(), free_memory() // MEMORY, -(-sum(sizes) // WORTH))
    return max(1, min(limits))


def count_loaders(cores: int, accelerated: bool) -> int:
    """Return how many processes should load patches for one that trains and has so many cores.

    Beside an accelerator as many as there are cores, up to 8. Without one each operation of the
    training is shared out to all cores, and a core that something else takes for a while holds up
    the others; with few cores the training loses least if it cuts its patches itself.
    """
    return max(1, min(cores, 8)) if accelerated else min(cores // 4, 4)


def usable_cores() -> int:
    """Return the cores that this process may run on, within the quota of its control groups."""
    found = os.cpu_count() or 1
    if hasattr(os, "sched_getaffinity"):
        found = len(os.sched_getaffinity(0))
    return max(1, min([found, *map(math.ceil, _group_cores(GROUPS, OWN_GROUPS))]))


def free_memory() -> int:
    """Return the bytes that are available now, within the limit of a cluster's job."""
    found = list(_group_memory(GROUPS, OWN_GROUPS))
    if hasattr(os, "sysconf"):
        found.append(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    with suppress(OSError, ValueError, IndexError):  # another system
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
        found += [int(line.split()[1]) << 10 for line in lines if line.startswith("MemAvailable")]
    return min(found, default=sys.maxsize)


def _group_cores(root: Path, own: Path) -> Iterator[float]:
    """Yield how many cores' time each control group of this process may use (Linux)."""
    for folder, second in _groups(root, own, "cpu"):
        with suppress(OSError, ValueError):  # "max": no limit
            if second:
                quota, period = map(int, (folder / "cpu.max").read_text().split())
            else:
                quota = int((folder / "cpu.cfs_quota_us").read_text())
                period = int((folder / "cpu.cfs_period_us").read_text())
            if quota > 0 and period > 0:
                yield quota / period


def _group_memory(root: Path, own: Path) -> Iterator[int]:
    """Yield what is free within each control group that this process is in (Linux).

    Pages of files that were read count as used there; they are given back when memory is short.
    """
    for folder, second in _groups(root, own, "memory"):
        files = V2 if second else V1
        with suppress(OSError, ValueError):
            limit, used = (int((folder / file).read_text()) for file in files[:2])
            fields = (text.split() for text in (folder / STAT).read_text().splitlines())
            cached = {key: int(value) for key, value in fields}.get(files[2], 0)
            yield max(0, limit - used + cached)


def _groups(root: Path, own: Path, kind: str) -> Iterator[tuple[Path, bool]]:
    """Yield the folder of each control group of this process, and whether it is of version 2.

    A cluster limits the group of a job, which lies below others.
    """
    with suppress(OSError):
        for line in own.read_text(encoding="ascii").splitlines():
            _, kinds, name = line.split(":", 2)
            if kinds and kind not in kinds.split(","):
                continue
            # Version 2 has one hierarchy without kinds, version 1 one for each kind.
            top = root / kind if kinds else root
            place = top / name.lstrip("/")
            for folder in (place, *place.parents):
                if not folder.is_relative_to(top):
                    break
                yield folder, not kinds
