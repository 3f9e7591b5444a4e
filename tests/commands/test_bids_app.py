"""The entry point of the BIDS-App, outside of its container."""

from __future__ import annotations

import runpy
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "experiments" / "container" / "run.py"


def call(monkeypatch: pytest.MonkeyPatch, *words: object, status: int = 0) -> list[list[str]]:
    called: list[list[str]] = []

    def run(command: list[str]) -> subprocess.CompletedProcess[str]:
        called.append(command[1:])
        return subprocess.CompletedProcess(command, status)

    monkeypatch.setattr(subprocess, "run", run)
    monkeypatch.setattr(sys, "argv", [str(SCRIPT), *map(str, words)])
    with pytest.raises(SystemExit) as ended:
        runpy.run_path(str(SCRIPT), run_name="__main__")
    assert ended.value.code == status
    return called


def test_participants_are_segmented(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = tmp_path / "model.neoseg"
    model.touch()
    (tmp_path / "sub-01").mkdir()
    words = (tmp_path, tmp_path / "out", "participant", "--model", model)
    start, end = ["-m", "neoseg.predict", f"model={model}"], [f"output={tmp_path / 'out'}"]
    end.append("device=auto")
    assert call(monkeypatch, *words) == [[*start, f"input={tmp_path}", *end]]
    found = call(monkeypatch, *words, "--participant_label", "01", status=1)
    assert found == [[*start, f"input={tmp_path / 'sub-01'}", *end]]
    assert call(monkeypatch, *words, "--participant-label", "99", status=2) == []
