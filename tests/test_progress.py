"""Progress as lines, where no terminal shows a bar."""

from __future__ import annotations

import logging

import pytest

from neoseg import progress
from neoseg.progress import Lines, progress_bar


def test_lines(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    caplog.set_level(logging.INFO)
    now = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    with progress_bar("prepare", total=8) as bar:
        assert isinstance(bar, Lines)
        for _ in range(8):
            now[0] += 4.0
            bar.advance("sub-1")
    assert caplog.messages == [
        "prepare: 0 of 8",
        "prepare: 3 of 8, 0:00:20 left",
        "prepare: 6 of 8, 0:00:08 left",
        "prepare: 8 of 8, done",
    ]


def test_what_has_nothing_to_do_says_nothing(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level(logging.INFO)
    with progress_bar("phantom") as bar:
        pass
    monkeypatch.setenv("RANK", "1")
    bar.update_to(1, 1)
    assert not caplog.messages
