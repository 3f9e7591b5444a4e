"""Steps, devices and jobs of a cluster that fit each other, told before anything starts."""

from __future__ import annotations

from typing import Any

import pytest

from neoseg.configuration.cluster import SlurmSettings
from neoseg.configuration.trainer import in_epochs, require_shares
from neoseg.findings.settings import ConfigError


@pytest.mark.parametrize(
    ("steps", "epoch", "batches", "expected"),
    [
        (1000, 300, 1, (4, 250)),  # exactly
        (1001, 300, 1, (4, 251)),  # less than a step an epoch more
        (5, 100, 1, (1, 5)),
        (10, 8, 4, (5, 8)),  # four batches a step
    ],
)
def test_steps_become_epochs_that_end_with_the_last_one(
    steps: int, epoch: int, batches: int, expected: tuple[int, int]
) -> None:
    raw: dict[str, Any] = {
        "trainer": {"max_steps": steps, "max_epochs": 7, "accumulate_grad_batches": batches},
        "patches": {"steps_per_epoch": epoch},
    }
    found = in_epochs(raw)
    assert (found["trainer"]["max_epochs"], found["patches"]["steps_per_epoch"]) == expected
    assert in_epochs(found) == found
    assert raw["trainer"]["max_epochs"] == 7


def test_without_steps_nothing_changes() -> None:
    raw: dict[str, Any] = {"trainer": {"max_epochs": 7}, "patches": {"steps_per_epoch": 3}}
    assert in_epochs(raw) is raw


def test_devices_share_a_batch() -> None:
    require_shares(8, 4)
    with pytest.raises(ConfigError, match=r"8 devices.*use patches.batch_size=16"):
        require_shares(10, 8)


@pytest.mark.parametrize(
    ("time", "minutes"),
    [
        *((720, 720), ("720", 720), ("90:00", 90), ("90:01", 91), ("12:00:00", 720)),
        *(("1-12", 2160), ("2-01:30", 2970), ("0-00:29:30", 30)),
    ],
)
def test_times_may_be_written_as_for_sbatch(time: int | str, minutes: int) -> None:
    """Its manual has minutes, minutes:seconds, hours:minutes:seconds, days-hours and on from it."""
    given = {"nodes": 1, "tasks_per_node": 1, "time": time}
    assert SlurmSettings.read(given, "cluster").time == minutes


@pytest.mark.parametrize(
    ("memory", "gigabytes"), [(64, 64), ("7.5", 7.5), ("64GB", 64), ("512M", 0.5), ("1T", 1024)]
)
def test_memory_may_have_a_unit(memory: float | str, gigabytes: float) -> None:
    given = {"nodes": 1, "tasks_per_node": 1, "time": 90, "memory": memory}
    assert SlurmSettings.read(given, "cluster").memory == gigabytes


def test_what_is_neither_is_told_with_what_may_be_given() -> None:
    given = {"nodes": 1, "tasks_per_node": 1, "time": "12h", "memory": "many"}
    with pytest.raises(ConfigError) as caught:
        SlurmSettings.read(given | {"exclude": ["a1", "a2"]}, "cluster")
    for text in ("cluster.time", "hours:minutes:seconds", "cluster.memory", "such as 64G"):
        assert text in str(caught.value)
    ready = SlurmSettings.read(given | {"time": 9, "memory": None, "exclude": ["a1", "a2"]}, "c")
    assert ready.parameters("x", False)["slurm_exclude"] == "a1,a2"


def test_a_job_needs_more_time_than_its_end_takes() -> None:
    with pytest.raises(ConfigError, match="to 5 or more"):
        SlurmSettings.read({"nodes": 1, "tasks_per_node": 1, "time": 4, "warning": 120}, "cluster")
    SlurmSettings.read({"nodes": 1, "tasks_per_node": 1, "time": 5, "warning": 120}, "cluster")
