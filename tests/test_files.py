"""Files are whole or absent, whatever happens while they are written."""

from __future__ import annotations

import os
import resource
import shutil
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import torch

from neoseg.files import building, find, flush, replacing, write_text

WRITERS: dict[str, Callable[[Path], object]] = {
    "text": lambda path: path.write_text("x" * 100_000),
    "bytes": lambda path: path.write_bytes(b"x" * 100_000),
    "npz": lambda path: np.savez(path, a=np.arange(50_000)),
    "torch": lambda path: torch.save(torch.arange(50_000), path),
}


@contextmanager
def little_room(size: int) -> Iterator[None]:
    """Let files grow to `size` bytes and no further, as on a disk that is full."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    old = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, old)


@pytest.mark.parametrize("write", WRITERS.values(), ids=WRITERS)
def test_a_full_disk_leaves_the_old_file(tmp_path: Path, write: Callable[[Path], object]) -> None:
    path = tmp_path / "a.npz"
    path.write_text("old")
    with little_room(4096), pytest.raises((OSError, RuntimeError)), replacing(path) as temporary:
        write(temporary)
    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["a.npz"]


def test_what_only_the_disk_knows_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(handle: int) -> None:
        raise OSError(28, "No space left on device")

    write_text(tmp_path / "a", "old")
    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="No space"):
        write_text(tmp_path / "a", "new")
    assert (tmp_path / "a").read_text() == "old"
    flush(tmp_path)  # folders of some file systems cannot be flushed


def test_it_is_on_the_disk_before_it_gets_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    order: list[str] = []
    fsync, replace = os.fsync, Path.replace
    monkeypatch.setattr(os, "fsync", lambda h: (order.append("fsync"), fsync(h))[1])
    monkeypatch.setattr(Path, "replace", lambda p, q: (order.append("name"), replace(p, q))[1])
    write_text(tmp_path / "a", "x")
    assert order == ["fsync", "name", "fsync"]


def test_a_folder_is_whole_or_absent(tmp_path: Path) -> None:
    (tmp_path / ".draft-a").mkdir()
    (tmp_path / ".draft-a" / "left by a killed process").write_text("x")

    def interrupted() -> None:
        with building(tmp_path / "a") as draft:
            (draft / "one").write_text("1")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert list(tmp_path.iterdir()) == []
    with building(tmp_path / "a") as draft:
        assert list(draft.iterdir()) == []
        (draft / "one").write_text("1")
    assert (tmp_path / "a" / "one").read_text() == "1"
    assert [p.name for p in tmp_path.iterdir()] == ["a"]


def test_a_draft_with_a_name_is_used_again(tmp_path: Path) -> None:
    (tmp_path / ".a.tmp").write_text("left by a killed process")
    with replacing(tmp_path / "a", draft=".a.tmp") as temporary:
        assert temporary.name == ".a.tmp"
        temporary.write_text("new")
    assert [p.name for p in tmp_path.iterdir()] == ["a"]


def test_files_are_found_by_name_at_any_depth(tmp_path: Path) -> None:
    for name in ("b", "a/a", "a/.git/a", "a/other", ".hidden/a"):
        write_text(tmp_path / "top" / name, "")
    assert find(tmp_path / "top", ["a", "b"]) == [tmp_path / "top/a/a", tmp_path / "top/b"]
    assert find(tmp_path / "nothing", ["a"]) == []
    write_text(tmp_path / "elsewhere" / "c" / "a", "")
    (tmp_path / "elsewhere" / "c" / "back").symlink_to(tmp_path / "top")
    for name, target in (("0", "top/a"), ("link", "elsewhere"), ("broken", "gone")):
        (tmp_path / "top" / name).symlink_to(tmp_path / target)
    assert find(tmp_path / "top", ["a"]) == [tmp_path / "top/a/a", tmp_path / "top/link/c/a"]


def test_a_link_upward_leads_nowhere(tmp_path: Path) -> None:
    for name in ("top/a/x", "beside/x"):
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).touch()
    (tmp_path / "top" / "up").symlink_to("..")
    assert find(tmp_path / "top", ["x"]) == [tmp_path / "top" / "a" / "x"]


def test_a_folder_may_go_while_files_are_sought(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As the drafts of a store that other jobs build do: between its parent's listing and its."""
    scandir = os.scandir

    def vanishing(path):  # type: ignore[no-untyped-def]
        if path == str(tmp_path / "draft"):
            shutil.rmtree(path)
        return scandir(path)

    write_text(tmp_path / "draft" / "a", "")
    write_text(tmp_path / "kept" / "a", "")
    monkeypatch.setattr(os, "scandir", vanishing)
    assert find(tmp_path, ["a"]) == [tmp_path / "kept" / "a"]
