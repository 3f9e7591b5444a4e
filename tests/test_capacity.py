"""How many processes a machine, or a job of a cluster, allows."""

from __future__ import annotations

from pathlib import Path

import pytest

from neoseg import capacity
from neoseg.capacity import count_loaders, count_processes


@pytest.mark.parametrize(
    ("wanted", "sizes", "expected"),
    [
        (None, [1000] * 50, 1),
        (None, [20 << 20] * 50, 8),
        (None, [20 << 20] * 10, 4),
        (None, [], 1),
        (3, [1] * 2, 2),
        (3, [1] * 50, 3),
        (1, [20 << 20] * 50, 1),
    ],
)
def test_processes_are_as_many_as_the_work_is_worth(
    monkeypatch: pytest.MonkeyPatch, wanted: int | None, sizes: list[int], expected: int
) -> None:
    monkeypatch.setattr(capacity, "usable_cores", lambda: 8)
    monkeypatch.setattr(capacity, "free_memory", lambda: 64 << 30)
    assert count_processes(wanted, sizes) == expected


def test_memory_bounds_the_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(capacity, "usable_cores", lambda: 64)
    monkeypatch.setattr(capacity, "free_memory", lambda: 7 << 30)
    assert count_processes(None, [20 << 20] * 500) == 3


@pytest.mark.parametrize(
    ("cores", "on_cpu", "beside_gpu"),
    [(1, 0, 1), (2, 0, 2), (3, 0, 3), (4, 1, 4), (8, 2, 8), (16, 4, 8), (128, 4, 8), (0, 0, 1)],
)
def test_loaders_do_not_take_the_cores_that_train(cores: int, on_cpu: int, beside_gpu: int) -> None:
    assert count_loaders(cores, accelerated=False) == on_cpu
    assert count_loaders(cores, accelerated=True) == beside_gpu


def test_this_machine_has_cores_and_memory() -> None:
    assert capacity.usable_cores() >= 1
    assert capacity.free_memory() > 1 << 20


@pytest.mark.parametrize(
    ("own", "folder", "names"),
    [
        ("0::/slurm/job_7\n", "slurm/job_7", capacity.V2),
        ("3:cpu:/x\n9:memory,hugetlb:/job_7\n", "memory/job_7", capacity.V1),
    ],
)
def test_the_limit_of_a_job_lies_in_its_control_group(
    own: str, folder: str, names: tuple[str, str, str], tmp_path: Path
) -> None:
    def group(place: Path, limit: str, used: int, cached: int) -> None:
        place.mkdir(parents=True, exist_ok=True)
        (place / names[0]).write_text(f"{limit}\n")
        (place / names[1]).write_text(f"{used}\n")
        (place / capacity.STAT).write_text(f"anon 1\n{names[2]} {cached}\n")

    (tmp_path / "own").write_text(own)
    group(tmp_path / folder, str(16 << 30), 15 << 30, 12 << 30)
    group((tmp_path / folder).parent, str(64 << 30), 20 << 30, 0)
    assert list(capacity._group_memory(tmp_path, tmp_path / "own")) == [13 << 30, 44 << 30]
    group(tmp_path / folder, "max", 0, 0)
    assert list(capacity._group_memory(tmp_path, tmp_path / "own")) == [44 << 30]


def test_no_control_groups_limit_nothing(tmp_path: Path) -> None:
    assert list(capacity._group_memory(tmp_path, tmp_path / "none")) == []


def test_a_quota_of_a_control_group_limits_the_cores(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(capacity, "GROUPS", tmp_path)
    monkeypatch.setattr(capacity, "OWN_GROUPS", tmp_path / "own")
    monkeypatch.setattr(capacity.os, "sched_getaffinity", lambda _: set(range(64)), raising=False)
    job = tmp_path / "slurm" / "job_7"
    job.mkdir(parents=True)
    (tmp_path / "own").write_text("0::/slurm/job_7\n")
    (job / "cpu.max").write_text("max 100000\n")
    (job.parent / "cpu.max").write_text("350000 100000\n")
    assert capacity.usable_cores() == 4
    (job / "cpu.max").write_text("50000 100000\n")
    assert capacity.usable_cores() == 1
    (tmp_path / "own").write_text("3:cpu,cpuacct:/docker\n")
    old = tmp_path / "cpu" / "docker"
    old.mkdir(parents=True)
    (old / "cpu.cfs_quota_us").write_text("-1\n")
    (old / "cpu.cfs_period_us").write_text("100000\n")
    assert capacity.usable_cores() == 64
    (old / "cpu.cfs_quota_us").write_text("200000\n")
    assert capacity.usable_cores() == 2
