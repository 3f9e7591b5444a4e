"""The damage that `experiments/reliability` does, at a reduced count."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).resolve().parents[2] / "experiments" / "reliability"))


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave the full count to those who ask for it."""
    if "faults" in (config.option.markexpr or ""):
        return
    for item in items:
        if item.get_closest_marker("faults"):
            item.add_marker(pytest.mark.skip(reason="the full count runs with -m faults"))
