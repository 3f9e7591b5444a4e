"""What the machine does to a command ends it with one message."""

from __future__ import annotations

import errno
import logging
import multiprocessing
import os
from pathlib import Path

import numpy as np
import pytest
import torch

from neoseg.findings.faults import fault_message, is_full, note_traceback, without_traceback

WORKER = """Caught DataError in DataLoader worker process 1.
Original Traceback (most recent call last):
  File "x.py", line 1, in f
    g()
neoseg.store.nifti.DataError: a.nii is gone; bring it back"""


SHARED = """Caught RuntimeError in DataLoader worker process 0.
Original Traceback (most recent call last):
  File "x.py", line 1, in f
RuntimeError: unable to allocate shared memory(shm) for file </torch_9_1_0>: No space left (28)"""


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate"), "patches.batch_size"),
        (torch.OutOfMemoryError("CUDA out of memory."), "trainer.precision=bf16-mixed"),
        (RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"), "the GPU has too little memory"),
        (MemoryError(), "the machine has too little memory"),
        (np._core._exceptions._ArrayMemoryError((9,), np.dtype(float)), "patches.workers"),
        (RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory"), "too little"),
        (OSError(errno.ENOSPC, "No space left on device", "/a/b"), "/a/b cannot be written"),
        (OSError(errno.EDQUOT, "Disk quota exceeded", "/a/b"), "Make room"),
        (OSError(errno.EROFS, "Read-only file system", "/a/b"), "a folder of your own"),
        (PermissionError(errno.EACCES, "Permission denied", "/a"), "Correct its permissions"),
        (FileNotFoundError(errno.ENOENT, "No such file", "/a/b.nii"), "/a/b.nii is not there"),
        (OSError(errno.ESTALE, "Stale file handle", "/a"), "Check the disk"),
        (RuntimeError("DataLoader worker (pid 7) is killed by signal: Killed. "), "died"),
        (RuntimeError("DataLoader worker (pid(s) 7, 8) exited unexpectedly"), "patches.workers"),
        (RuntimeError(SHARED), "--shm-size=8g"),
        (RuntimeError("unable to write to file </torch_9_1_0>: No space left"), "workers=0"),
        (RuntimeError("DataLoader worker (pid 7) is killed by signal: Bus error. "), "/dev/shm"),
        (RuntimeError("can't start new thread"), "ulimit"),
        (ImportError("x.so: failed to map segment from shared object"), "ulimit -v"),
        (OSError(errno.ENOMEM, "Cannot allocate memory"), "the memory of the job"),
        (OSError(errno.EMFILE, "Too many open files", "/a"), "-n"),
        (OSError(errno.ENAMETOOLONG, "File name too long", "/a/b"), "/a/b has too long a name"),
        (RuntimeError("[pair.cc:534] Connection closed by peer [::1]:1"), "another process of"),
        (OSError(WORKER), "failed: a.nii is gone; bring it back. What was saved"),
        (RuntimeError("PytorchStreamWriter failed writing file data/0"), "disk may be full"),
    ],
)
def test_a_fault_is_told_with_what_to_do(error: BaseException, words: str) -> None:
    message = fault_message(error)
    assert message is not None
    assert words in message
    assert "What was saved" in message
    assert "\n" not in message


def test_semaphores_lie_in_shared_memory_too(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("multiprocessing.synchronize._multiprocessing.SemLock", full)
    with pytest.raises(OSError, match="No space") as caught:
        multiprocessing.get_context("spawn").Lock()
    later = RuntimeError("what was cleaned up then failed as well")
    later.__context__ = caught.value
    assert "--shm-size" in str(fault_message(later))


@pytest.mark.parametrize(
    "error", [ValueError("x"), ZeroDivisionError(), RuntimeError("shape"), OSError("odd")]
)
def test_other_errors_are_no_faults(error: BaseException) -> None:
    assert fault_message(error) is None


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
def test_the_file_is_named_where_the_error_does_not() -> None:
    def write(path: Path) -> None:
        with path.open("w") as handle:
            handle.write("x" * 10)

    with pytest.raises(OSError, match="No space") as caught:
        write(Path("/dev/full"))
    assert caught.value.filename is None
    assert is_full(caught.value)
    assert "/dev/full cannot be written" in str(fault_message(caught.value))


def test_what_a_loader_says_loses_its_traceback() -> None:
    assert without_traceback(WORKER) == "a.nii is gone; bring it back"
    assert without_traceback("two\nlines") == "two\nlines"


def test_the_traceback_is_in_the_log_file_alone(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    handler = logging.FileHandler(tmp_path / "x.log")
    logging.getLogger().addHandler(handler)
    try:
        os.stat(tmp_path / "absent")
    except OSError as error:
        note_traceback(logging.getLogger("test"), error)
    finally:
        logging.getLogger().removeHandler(handler)
        handler.close()
    assert "Traceback" in (tmp_path / "x.log").read_text()
    assert "Traceback" not in capsys.readouterr().err


@pytest.mark.parametrize("kind", [ConnectionResetError, EOFError, FileNotFoundError])
def test_a_loader_that_dies_while_it_hands_over_a_patch(kind: type[Exception]) -> None:
    room = {"__name__": "torch.multiprocessing.reductions", "kind": kind}
    exec(
        "def rebuild():\n    raise kind()", room
    )  # what is raised in that module, and nothing else
    with pytest.raises(kind) as caught:
        room["rebuild"]()
    assert "a process that loads patches died" in (fault_message(caught.value) or "")
    assert "loads patches" not in (fault_message(kind()) or "")
