"""Training on two real processes: as on one, and as without an interruption."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch
from forked import run_command
from interruption import assert_same_runs, curves
from made_once import made_once

HERE = Path(__file__).parent

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not hasattr(os, "fork"), reason="processes cannot be forked here"),
]


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the runs `one`, `two` (processes) and `resumed` (two, killed in between)."""
    return made_once(tmp_path_factory, "two_processes", train_all)


def train_all(folder: Path) -> None:
    status, said = run_command(HERE / "two_processes.py", folder, cwd=folder, timeout=500)
    assert status == 0, said[-5000:]


def test_each_process_has_its_share_of_a_batch(runs: Path) -> None:
    notes = {name: sorted((runs / name).glob("rank-*.txt")) for name in ("one", "two", "resumed")}
    assert [path.read_text() for path in notes["one"]] == ["1 4"]
    for name in ("two", "resumed"):
        assert [path.read_text() for path in notes[name]] == ["2 2", "2 2"]


def test_two_processes_learn_what_one_learns(runs: Path) -> None:
    states = [
        torch.load(runs / name / "checkpoints" / "last.ckpt", weights_only=True)
        for name in ("one", "two")
    ]
    assert [state["global_step"] for state in states] == [8, 8]
    one, two = (state["state_dict"] for state in states)
    assert list(one) == list(two)
    for name in one:
        torch.testing.assert_close(two[name], one[name], rtol=1e-4, atol=1e-6, msg=name)


def test_their_losses_are_those_of_the_whole_batch(runs: Path) -> None:
    rows = [[r for r in curves(runs / name) if r["train/loss"]] for name in ("one", "two")]
    assert len(rows[0]) == len(rows[1]) == 8
    for one, two in zip(*rows, strict=True):
        assert float(two["train/loss"]) == pytest.approx(float(one["train/loss"]), rel=1e-4)


def test_they_share_the_validation_and_find_the_same(runs: Path) -> None:
    def seen(name: str) -> list[list[int]]:
        notes = sorted((runs / name).glob("validated-*.txt"))
        return [[int(line) for line in note.read_text().split()] for note in notes]

    (alone,), shared = seen("one"), seen("two")
    assert len(shared) == 2
    assert len(set(alone)) > 1
    assert set(alone) == set(shared[0]) | set(shared[1])
    assert (
        len(shared[0])
        == len(shared[1])
        == -(-len(set(alone)) // 2) * (len(alone) // len(set(alone)))
    )
    rows = [[r for r in curves(runs / name) if r.get("val/dice")] for name in ("one", "two")]
    assert len(rows[0]) == len(rows[1]) > 0
    for one, two in zip(*rows, strict=True):
        for key in (key for key in one if key.startswith("val/") and one[key]):
            assert float(two[key]) == pytest.approx(float(one[key]), abs=2e-3), key


def test_an_interrupted_run_ends_with_the_same_bits(runs: Path) -> None:
    assert_same_runs(runs / "two", runs / "resumed")
