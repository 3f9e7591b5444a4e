from __future__ import annotations

from pathlib import Path

import pytest
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch.callbacks import EarlyStopping, ProgressBar, Timer

from neoseg.training.callbacks import make_callbacks
from neoseg.training.checkpoint import CheckpointSettings
from neoseg.training.module import MONITOR
from neoseg.training.progress_lines import ProgressLines


def made(
    folder: Path,
    patience: int | None = None,
    progress: bool = False,
    max_time: str | None = None,
) -> list[object]:
    return [*make_callbacks(folder, CheckpointSettings(), 0, 0, patience, progress, max_time)]


def test_training_stops_early_only_where_asked(tmp_path: Path) -> None:
    assert not [c for c in made(tmp_path) if isinstance(c, EarlyStopping)]
    (found,) = [c for c in made(tmp_path, patience=7) if isinstance(c, EarlyStopping)]
    assert (found.monitor, found.mode, found.patience) == (MONITOR, "max", 7)


@pytest.mark.parametrize("progress", [True, False])
@pytest.mark.parametrize("terminal", [True, False])
def test_a_bar_is_shown_only_where_asked_and_seen(
    tmp_path: Path, progress: bool, terminal: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rich.console.Console.is_terminal", terminal)
    found = made(tmp_path, progress=progress)
    bars = [c for c in found if isinstance(c, ProgressBar)]
    assert len(bars) == (progress and terminal)
    (telling,) = [c for c in found if isinstance(c, ProgressLines)]
    assert telling.bar == bool(bars)


def test_time_ends_with_an_epoch(tmp_path: Path) -> None:
    assert not [c for c in made(tmp_path) if isinstance(c, Timer)]
    (found,) = [c for c in made(tmp_path, max_time="00:02:00:00") if isinstance(c, Timer)]
    assert found.time_remaining() == 7200
    assert found._interval == "epoch"
    with pytest.raises(MisconfigurationException):
        made(tmp_path, max_time="2h")
