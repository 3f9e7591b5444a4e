"""Runs that end in the middle, and what two runs have in common."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import pytest
import torch


class Killed(BaseException):
    """Stands in for SIGKILL: nothing in the program expects it."""


def die_at(method: str, call: int, owner: type, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make call number `call` (from 0) of a method raise `Killed` before it does anything."""
    plain, calls = getattr(owner, method), [0]

    def dying(*args: Any, **kwargs: Any) -> Any:
        calls[0] += 1
        if calls[0] == call + 1:
            raise Killed
        return plain(*args, **kwargs)

    monkeypatch.setattr(owner, method, dying)


def curves(folder: Path) -> list[dict[str, str]]:
    """Read `metrics.csv` without what clocks say."""
    with (folder / "metrics.csv").open() as handle:
        rows = list(csv.DictReader(handle))
    return [{k: v for k, v in row.items() if not k.startswith("time/")} for row in rows]


def assert_same(one: Any, two: Any, where: str = "") -> None:
    """Compare nested containers, tensors to the bit."""
    assert type(one) is type(two), where
    if isinstance(one, torch.Tensor):
        assert torch.equal(one, two), where
    elif isinstance(one, dict):
        assert list(one) == list(two), where
        for key in one:
            assert_same(one[key], two[key], f"{where}.{key}")
    elif isinstance(one, list | tuple):
        assert len(one) == len(two), where
        for number, (a, b) in enumerate(zip(one, two, strict=True)):
            assert_same(a, b, f"{where}[{number}]")
    else:
        assert one == two, where


def assert_same_runs(one: Path, two: Path) -> None:
    """Compare the checkpoints (weights, teacher, optimizer, schedule, progress) and the curves."""
    first, second = (
        torch.load(run / "checkpoints" / "last.ckpt", weights_only=True) for run in (one, two)
    )
    # Only the loaded one had its progress in validation set back; it counts for nothing.
    for checkpoint in (first, second):
        loops = checkpoint["loops"]["fit_loop"]
        for key in [k for k in loops if "val_loop" in k]:
            del loops[key]
    assert_same(first, second)
    assert curves(one) == curves(two)
