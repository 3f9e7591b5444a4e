"""Random hostile files, as many as fit into a second or two; the full count is a command."""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.append(str(ROOT / "experiments" / "reliability"))

import hostile as fuzzer  # noqa: E402


def test_nothing_escapes(tmp_path: Path) -> None:
    found = fuzzer.fuzz(40, 10**6, tmp_path)
    for counts in found.values():
        assert counts.total() == 40
        assert counts[fuzzer.ESCAPED] == counts[fuzzer.TRACEBACK] == 0
        assert counts[fuzzer.REFUSED] > 10


def test_the_committed_count_is_full_and_clean() -> None:
    text = (ROOT / "experiments" / "reliability" / "hostile.md").read_text(encoding="utf-8")
    rows = [line.strip("| ").split(" | ") for line in text.splitlines()[2:]]
    assert sum(int(row[1]) for row in rows) >= 10_000
    assert all(row[-2:] == ["0", "0"] for row in rows)
