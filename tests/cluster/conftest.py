"""A cluster for all tests of this folder."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from slurm_cluster import SlurmCluster, slurm_cluster, why_not


@pytest.fixture(scope="session")
def cluster() -> Iterator[SlurmCluster]:
    """Two nodes on the loopback, where the machine can have them."""
    reason = why_not()
    if reason is not None:
        pytest.skip(reason)
    with slurm_cluster() as running:
        yield running
