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


def test_a_job_needs_more_time_than_its_end_takes() -> None:
    with pytest.raises(ConfigError, match="to 5 or more"):
        SlurmSettings.read({"nodes": 1, "tasks_per_node": 1, "time": 4, "warning": 120}, "cluster")
    SlurmSettings.read({"nodes": 1, "tasks_per_node": 1, "time": 5, "warning": 120}, "cluster")
