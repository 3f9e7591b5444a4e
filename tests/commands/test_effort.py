"""A run's time and energy count over all its starts."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from neoseg.runs import effort as module
from neoseg.runs.effort import EFFORT, Effort, effort_counted


class Meter:
    """An energy meter that shows what it is told."""

    def __init__(self, processors: float | None, gpus: float | None) -> None:
        self.values = {"processors": processors, "gpus": gpus}

    def joules(self) -> dict[str, float | None]:
        return self.values


def noted(folder: Path) -> dict[str, float | None]:
    return json.loads((folder / EFFORT).read_text())


def test_starts_add_up_and_pauses_do_not_count(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [100.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])
    started = effort_counted(tmp_path)
    started.__enter__()
    now[0] += 7
    started.__exit__(KeyboardInterrupt, KeyboardInterrupt(), None)
    assert noted(tmp_path)["seconds"] == 7
    now[0] += 1000
    with effort_counted(tmp_path) as effort:
        now[0] += 2
        assert effort.seconds() == 9


def test_what_a_killed_process_used_was_noted_before(tmp_path: Path) -> None:
    with effort_counted(tmp_path, period=0.02):
        deadline = time.monotonic() + 10
        while not (tmp_path / EFFORT).exists() and time.monotonic() < deadline:
            time.sleep(0.01)
        assert noted(tmp_path)["seconds"] is not None


def test_energy_adds_up_where_every_start_could_measure_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "EnergyMeter", lambda: Meter(5.0, None))
    with effort_counted(tmp_path):
        pass
    assert noted(tmp_path) | {"seconds": 0} == {"seconds": 0, "processors": 5.0, "gpus": None}
    # The second start is on a machine that has a GPU: that of the first one is not known.
    monkeypatch.setattr(module, "EnergyMeter", lambda: Meter(2.5, 8.0))
    with effort_counted(tmp_path) as effort:
        assert effort.joules() == {"processors": 7.5, "gpus": None}
    assert Effort({}, Meter(1.0, 2.0)).joules() == {"processors": 1.0, "gpus": 2.0}


@pytest.mark.parametrize("content", ["", "[]", '{"seconds": null}', '{"seconds": "long"}', "{}"])
def test_a_damaged_note_is_told_and_counts_nothing(
    tmp_path: Path, content: str, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / EFFORT).write_text(content)
    with effort_counted(tmp_path) as effort:
        assert effort.seconds() < 5
    assert EFFORT in caplog.text


def test_other_processes_of_the_run_write_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LOCAL_RANK", "1")
    with effort_counted(tmp_path):
        pass
    assert not list(tmp_path.iterdir())


def test_a_folder_that_cannot_be_written_stops_no_run(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("")
    with effort_counted(tmp_path / "file"):
        pass
    assert "cannot be written" in caplog.text
