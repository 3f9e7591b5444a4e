"""Intervals and tests keep what they promise, at a reduced count of `experiments/statistics`."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import numpy as np
import pytest

PATH = Path(__file__).parents[3] / "experiments/statistics/simulate.py"
SEED = 1
"""Another one than that of the full count."""

pytestmark = pytest.mark.simulation


@pytest.fixture(scope="module")
def simulate():
    spec = importlib.util.spec_from_file_location("simulate", PATH)
    sys.modules["simulate"] = module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def error(count: int) -> float:
    """Return three standard errors of a share of 5 % among so many, in percent."""
    return 300 * np.sqrt(0.05 * 0.95 / count)


@pytest.mark.parametrize("shape", ["beta 5 1", "logit-normal 2 1", "bounded difference"])
@pytest.mark.parametrize(("subjects", "scans"), [(3, "1"), (4, "1"), (8, "1-3"), (40, "1")])
def test_intervals_cover(simulate, shape, subjects, scans) -> None:
    row = simulate.of_means(shape, subjects, scans, 4000, SEED)
    assert 93 - error(4000) < row["covered"] < 97 + error(4000)


@pytest.mark.parametrize("shape", ["normal", "dice"])
@pytest.mark.parametrize(
    ("draws", "subjects", "ratio", "kind"),
    [
        *((3, 4, 0.0, "shared"), (3, 40, 0.5, "shared"), (3, 8, 1.0, "own"), (4, 4, 0.0, "gaps")),
        *((10, 4, 0.5, "shared"), (5, 12, 1.0, "uneven")),
    ],
)
def test_equal_methods_rarely_differ(simulate, shape, draws, subjects, ratio, kind) -> None:
    row = simulate.of_methods(shape, draws, subjects, ratio, kind, 2000, SEED)
    assert 3 - error(2000) < row["rejected"] < 7 + error(2000)


def test_the_bound_is_one_that_other_ways_miss(simulate) -> None:
    """Subjects alone take the luck of three draws for merit in every fourth comparison."""
    from neoseg.evaluation.report.crossed import Crossed

    rng = np.random.default_rng(SEED)
    tables = [simulate.of_arm(rng, (3, 12, 1000), np.zeros(1), 1.0) for _ in range(2)]
    crossed = Crossed(tables, [list("abc"), list("abc")], np.arange(12))
    crossed.methods = False
    assert np.mean(crossed.contrast(1, -1).differs() < 0.05) > 0.2


def test_share_of_a_gap_is_covered(simulate) -> None:
    row = simulate.of_shares(5, 12, 0.5, 1500, SEED)
    assert 93 - error(1500) < row["covered"] < 97 + error(1500)
