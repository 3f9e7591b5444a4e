"""The check on a GPU runs at toy size on the CPU, and tells what it finds."""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path

import pytest
import torch
import torch.multiprocessing as mp
from forked import CONTEXT

ROOT = Path(__file__).resolve().parents[1]
SLOW = {"training", "main_experiment"}
sys.path.append(str(ROOT))

from experiments.benchmarks.gpu.bench import Bench, Found, NotHereError, read  # noqa: E402
from experiments.benchmarks.gpu.run import PARTS, main  # noqa: E402


@pytest.fixture(scope="module")
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("gpu")


@pytest.mark.parametrize(
    "part", [pytest.param(p, marks=[pytest.mark.slow] * (p in SLOW)) for p in PARTS]
)
def test_a_part_runs_at_toy_size(part: str, scratch: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Two ranks are forked from the server that has imported everything.
    ranks = partial(mp.start_processes, start_method=CONTEXT.get_start_method())
    monkeypatch.setattr(mp, "spawn", ranks)
    output = scratch / f"{part}.csv"
    rows = main(["--dry", "--parts", part, "--output", str(output), "--scratch", str(scratch)])
    assert {row.status for row in rows} <= {"right", "measured", "not here"}, rows
    assert sum(row.status != "not here" for row in rows) >= 2
    assert len(read(output)) == len(rows)


def bench(folder: Path, part: str = "part") -> Bench:
    return Bench(part, torch.device("cpu"), True, folder / "rows.csv", folder)


def test_a_check_that_fails_is_a_row(tmp_path: Path) -> None:
    made = bench(tmp_path)

    def raises(error: Exception) -> Found:
        raise error

    made.check("full", lambda: raises(torch.OutOfMemoryError("too large")))
    made.check("missing", lambda: raises(NotHereError("needs a GPU")))
    made.check("wrong", lambda: raises(ValueError("a shape")))
    made.check("slow", lambda: Found(3.0, "s", most=2.0))
    made.check("nothing", lambda: Found(float("nan"), "s", most=2.0))
    made.check("good", lambda: Found(1.0, "s", most=2.0))
    wanted = ["out of memory", "not here", "FAILED", "MISSED", "MISSED", "right"]
    assert [row["status"] for row in read(made.results)] == wanted


def test_only_what_is_good_is_not_made_again(tmp_path: Path) -> None:
    made: list[str] = []

    def found(name: str, value: float) -> Found:
        made.append(name)
        return Found(value, "s", most=2.0)

    for _ in range(2):
        bench(tmp_path).check("good", lambda: found("good", 1.0))
        bench(tmp_path).check("slow", lambda: found("slow", 3.0))
    bench(tmp_path, "other").check("good", lambda: found("other", 1.0))
    assert made == ["good", "slow", "slow", "other"]


def test_no_check_begins_after_the_time_of_its_part(tmp_path: Path) -> None:
    made = bench(tmp_path)
    made.until = 0.0
    made.check("late", lambda: pytest.fail("it was begun"))
    assert [row.status for row in made.rows] == ["no time left"]
