from __future__ import annotations

from pathlib import Path

import pytest

from neoseg.failure import FAILED, failure_noted, failure_of, note_failure


def test_the_error_is_kept_in_one_line_until_the_next_start(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="first"), failure_noted(tmp_path):
        raise ValueError("first\nsecond")
    assert failure_of(tmp_path) == "ValueError: first"
    with failure_noted(tmp_path):
        assert failure_of(tmp_path) is None
    assert not (tmp_path / FAILED).exists()


@pytest.mark.parametrize("end", [SystemExit(143), KeyboardInterrupt()])
def test_an_interruption_is_no_failure(end: BaseException, tmp_path: Path) -> None:
    with pytest.raises(type(end)), failure_noted(tmp_path):
        raise end
    assert failure_of(tmp_path) is None


def test_the_first_process_that_fails_is_right(tmp_path: Path) -> None:
    note_failure(tmp_path, "out of memory")
    note_failure(tmp_path, "connection closed by peer")
    assert failure_of(tmp_path) == "out of memory"


def test_other_processes_do_not_forget_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    note_failure(tmp_path, "out of memory")
    monkeypatch.setenv("SLURM_PROCID", "1")
    with failure_noted(tmp_path):
        assert failure_of(tmp_path) == "out of memory"


def test_a_damaged_note_still_counts(tmp_path: Path) -> None:
    (tmp_path / FAILED).write_text("{")
    assert failure_of(tmp_path) == f"{FAILED} cannot be read"
