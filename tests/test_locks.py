"""One process at a time, also on file systems that refuse to lock."""

from __future__ import annotations

import errno
import fcntl
import logging
import os
import subprocess
import sys
from pathlib import Path

import pytest

from neoseg.inference.dataset import tables_locked
from neoseg.locks import HeldError, locked
from neoseg.runs.folder import LOCK, claimed, is_claimed

NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)


@pytest.fixture(params=NO_LOCKS)
def no_locks(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every attempt to lock is refused."""

    def refused(handle: int, operation: int) -> None:
        raise OSError(request.param, os.strerror(request.param))

    monkeypatch.setattr(fcntl, "flock", refused)


@pytest.mark.usefixtures("no_locks")
@pytest.mark.filterwarnings("ignore:flock not supported")
def test_a_file_stands_for_a_lock(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "x.lock"
    for _ in range(2):
        with locked(path), pytest.raises(HeldError, match=r"x\.lock"), locked(path, 0):
            pytest.fail("two hold it")
    assert not (tmp_path / "x.lock-held").exists()
    assert sum("has no locks" in line for line in caplog.messages) <= 1


@pytest.mark.usefixtures("no_locks")
@pytest.mark.filterwarnings("ignore:flock not supported")
def test_all_that_locks_goes_on(tmp_path: Path) -> None:
    with claimed(tmp_path / "run"):
        assert is_claimed(tmp_path / "run")
    assert not is_claimed(tmp_path / "run")
    with tables_locked(tmp_path):
        pass
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


def test_a_process_that_was_killed_holds_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = (
        "import errno, fcntl, os, signal, sys\n"
        "def refused(*_): raise OSError(errno.ENOLCK, 'No locks available')\n"
        "fcntl.flock = refused\n"
        "from pathlib import Path\n"
        "from neoseg.locks import locked\n"
        "with locked(Path(sys.argv[1])): os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    path = tmp_path / LOCK
    subprocess.run([sys.executable, "-c", script, str(path)], check=False)
    held = path.with_name(f"{LOCK}-held")
    assert held.exists()

    def refused(*_: int) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", refused)
    with locked(path, 5):
        pass
    assert not held.exists()


def test_who_waits_is_told_for_what(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    script = (
        "import sys, time\nfrom pathlib import Path\nfrom neoseg.locks import locked\n"
        "with locked(Path(sys.argv[1])): print('held', flush=True); time.sleep(0.3)\n"
    )
    monkeypatch.setattr("neoseg.locks.PATIENCE", 0.1)
    path = tmp_path / "x.lock"
    with subprocess.Popen(
        [sys.executable, "-c", script, str(path)], stdout=subprocess.PIPE
    ) as other:
        assert other.stdout is not None
        other.stdout.readline()
        with caplog.at_level(logging.WARNING), locked(path):
            pass
    assert any(f"holds {path}" in line for line in caplog.messages)


def test_a_place_that_forbids_it_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def forbidden(*_: int, **__: int) -> int:
        raise PermissionError(errno.EROFS, "Read-only file system", str(tmp_path / "x"))

    monkeypatch.setattr(os, "open", forbidden)
    with pytest.raises(OSError, match="Read-only"), locked(tmp_path / "x"):
        pytest.fail("it is not locked")
