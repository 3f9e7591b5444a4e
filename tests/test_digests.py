from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from neoseg import digests
from neoseg.digests import digest_of, digest_of_content, digests_kept

OLD = 315532800 * 10**9


@pytest.fixture(autouse=True)
def _nothing_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(digests, "_known", {})


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The files that are read, in order."""
    found, plain = [], digests.hashlib.file_digest

    def noted(stream, digest):
        found.append(Path(stream.name).name)
        return plain(stream, digest)

    monkeypatch.setattr(digests.hashlib, "file_digest", noted)
    return found


def write(path: Path, text: str, later: float = 10.0) -> Path:
    """Write a file; it is `later` seconds afterwards."""
    path.write_text(text)
    os.utime(path, ns=(OLD, OLD))
    digests.time = type("Clock", (), {"time": lambda: path.stat().st_ctime + later})
    return path


@pytest.fixture(autouse=True)
def _clock(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(digests, "time", digests.time)


def test_the_content_counts_and_nothing_else(tmp_path: Path) -> None:
    same, other = write(tmp_path / "a", "same"), write(tmp_path / "b", "othe")
    assert digest_of(same) == digest_of(write(tmp_path / "c", "same")) != digest_of(other)
    assert digest_of_content({"a": 1, "b": [2]}) == digest_of_content({"b": [2], "a": 1})
    assert digest_of_content({"a": 1}) != digest_of_content({"a": 2})


def test_an_untouched_file_is_read_once_by_several_processes(
    tmp_path: Path, read: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(tmp_path / "a", "text")
    with digests_kept(tmp_path / "kept.json"):
        first = digest_of(path)
    monkeypatch.setattr(digests, "_known", {})  # another process
    with digests_kept(tmp_path / "kept.json"):
        assert digest_of(path) == first
    assert read == ["a"]
    path.write_text("TEXT")
    os.utime(path, ns=(OLD, OLD))  # its inode tells
    assert digest_of(path) != first


def test_what_was_just_written_is_read_again(tmp_path: Path, read: list[str]) -> None:
    path = write(tmp_path / "a", "text", later=1.0)
    assert digest_of(path) == digest_of(path)
    assert read == ["a", "a"]


@pytest.mark.parametrize("content", ["", "{", "[]", '{"a": 3}', '{"a": [["x"], "y"]}'])
def test_a_damaged_file_of_digests_costs_nothing_but_time(tmp_path: Path, content: str) -> None:
    kept, path = tmp_path / "kept.json", write(tmp_path / "a", "text")
    kept.write_text(content)
    with digests_kept(kept):
        digest_of(path)
    assert list(json.loads(kept.read_text())) == [str(path)]
