"""A canary: a secret in the environment, a file that nothing may make, and limits that hold."""

from __future__ import annotations

import resource
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from neoseg.errors import NeosegError

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[1] / "evaluation/report")]

SECRET = "s3cr3t-of-the-canary"
SECONDS, ROOM = 20, 2 << 30


class LateError(BaseException):
    """What nobody catches."""


@contextmanager
def bounded() -> Iterator[None]:
    """End what takes longer than a refusal does, or more memory."""

    def late(*_: object) -> None:
        raise LateError(f"it took more than {SECONDS} s")

    before = signal.signal(signal.SIGALRM, late)
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    limits = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + ROOM, limits[1]))
    signal.alarm(SECONDS)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)
        resource.setrlimit(resource.RLIMIT_AS, limits)


class Canary:
    """Runs what reads a hostile file, and looks at what came of it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.mark = folder / "mark"

    def refused(self, read: Callable[[], Any]) -> str:
        """Return the one message with which something is refused."""
        with bounded(), pytest.raises(NeosegError) as caught:
            read()
        self.sings(str(caught.value))
        assert str(caught.value).strip()
        return str(caught.value)

    def harmless(self, read: Callable[[], Any]) -> Any:
        """Return what is read, or None where it is refused; nothing else may come of it."""
        found = None
        with bounded():
            try:
                found = read()
            except NeosegError as error:
                self.sings(str(error))
        self.sings(repr(found))
        return found

    def sings(self, told: str = "") -> None:
        """Nothing was run, and the secret stands in no message and in no file."""
        assert not self.mark.exists()
        assert SECRET not in told
        for path in self.folder.rglob("*"):
            if path.is_file() and path.stat().st_size < 2**22:
                assert path.name == "secret" or SECRET.encode() not in path.read_bytes(), path


@pytest.fixture
def canary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Canary:
    monkeypatch.setenv("CANARY", SECRET)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "secret").write_text(SECRET)
    return Canary(tmp_path)
