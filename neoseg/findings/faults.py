"""What ends a command and is no error of data or configuration: the machine gave out.

Each such fault is told in one message that says what to do. The traceback goes into the log file.
"""

from __future__ import annotations

import errno
import logging
import os
import re
import traceback

LOWER = (
    "lower patches.batch_size or patches.size, choose a smaller network=, or set "
    "trainer.precision=bf16-mixed"
)
LOWER_SCORING = "for scoring and prediction window.patch_size, or window.accumulate_on=cpu"
GO_ON = (
    "What was saved is whole: start the same command again, a single training with "
    "resume=RUN_DIR, and it goes on"
)

_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_FORBIDDEN = {errno.EROFS, errno.EACCES, errno.EPERM}
_BROKEN = {errno.EIO, errno.ESTALE, errno.ENXIO, errno.ETIMEDOUT}
_GPU_MEMORY = re.compile(r"CUDA out of memory|CUDNN_STATUS_ALLOC_FAILED|CUBLAS_STATUS_ALLOC_FAILED")
_CPU_MEMORY = re.compile(r"DefaultCPUAllocator: .*alloc|std::bad_alloc|Unable to allocate")
_WORKER = re.compile(r"DataLoader worker \(pid\(?s?\)?:? ?[\d, ]+\)")
_WORKERS_ERROR = re.compile(r"^Caught \w+ in DataLoader worker process (\d+)\.")
_SHARING = {"torch.multiprocessing.reductions", "multiprocessing.resource_sharer"}
_LINE_OF_ERROR = re.compile(r"\n[\w.]*(?:Error|Exception|Interrupt)(?:: |\n|$)")
_TORCH_WRITE = re.compile(r"PytorchStreamWriter failed|file write failed")


def fault_message(error: BaseException) -> str | None:
    """Return what to tell the user of a fault of the machine, or None for any other error.

    Faults are: out of memory on a GPU or in main memory, a full disk, a place that cannot be
    written, a file that went away, a broken disk or network drive, a loader process that died.
    """
    text = str(error)
    if type(error).__name__ == "OutOfMemoryError" or _GPU_MEMORY.search(text):
        return f"the GPU has too little memory: {LOWER}; {LOWER_SCORING}. {GO_ON} ({_first(text)})"
    if isinstance(error, MemoryError) or _CPU_MEMORY.search(text):
        return (
            f"the machine has too little memory: {LOWER}, or patches.workers, each of which is a "
            f"process of its own; {LOWER_SCORING}. {GO_ON} ({_first(text) or 'MemoryError'})"
        )
    if _WORKER.search(text) or _while_sharing(error):
        return (
            f"a process that loads patches died: {_first(text) or type(error).__name__}. If nobody "
            "ended it, it was killed for want of memory (also shared memory, /dev/shm): lower "
            f"patches.workers or patches.size. {GO_ON}"
        )
    if isinstance(error, OSError) and _WORKERS_ERROR.match(text):
        return f"a process that loads patches failed: {without_traceback(text)}. {GO_ON}"
    if isinstance(error, OSError):
        return _of_files(error)
    if isinstance(error, RuntimeError) and _TORCH_WRITE.search(text):
        return f"a file could not be written, the disk may be full: {_first(text)}. {GO_ON}"
    return None


def is_full(error: BaseException) -> bool:
    """Tell whether a disk has no more room, for whatever is written next as well."""
    return isinstance(error, OSError) and error.errno in _FULL


def _of_files(error: OSError) -> str | None:
    place = error.filename2 or error.filename or _place_of(error)
    where = f"{place}" if place else "a file"
    if error.errno in _FULL:
        return (
            f"{where} cannot be written: {error.strerror}. Make room, or set paths.runs, paths.data"
            f" or output to another disk. {GO_ON}"
        )
    if error.errno in _FORBIDDEN:
        return (
            f"{where} cannot be read or written: {error.strerror}. Correct its permissions, or set "
            f"paths.runs, paths.data or output to a folder of your own. {GO_ON}"
        )
    if error.errno in (errno.ENOENT, errno.ENOTDIR):
        return (
            f"{where} is not there, or no longer: {error.strerror}. Bring it back, or correct the "
            f"path. {GO_ON}"
        )
    if error.errno in _BROKEN:
        return f"{where} cannot be read or written: {error.strerror}. Check the disk. {GO_ON}"
    return None


def _while_sharing(error: BaseException) -> bool:
    """Tell whether a tensor was being fetched from another process, which then must be gone."""
    if not isinstance(error, OSError | EOFError):
        return False
    frames = traceback.walk_tb(error.__traceback__)
    return any(frame.f_globals.get("__name__") in _SHARING for frame, _ in frames)


def _place_of(error: BaseException) -> str:
    """Return the nearest local `path` of the frames that the error went through, or ""."""
    for frame, _ in reversed(list(traceback.walk_tb(error.__traceback__))):
        for name in ("path", "temporary", "target", "folder", "output_dir"):
            value = frame.f_locals.get(name)
            if isinstance(value, os.PathLike):
                return str(os.fspath(value))
    return ""


def note_traceback(log: logging.Logger, error: BaseException) -> None:
    """Write the traceback of an error into the log files, and not on the screen."""
    info = (type(error), error, error.__traceback__)
    record = log.makeRecord(log.name, logging.ERROR, __file__, 0, "in full:", (), info)
    for handler in logging.getLogger().handlers:
        if isinstance(handler, logging.FileHandler):
            handler.handle(record)


def wants_traceback() -> bool:
    """Tell whether the user asked for tracebacks, as Hydra lets them."""
    return os.environ.get("HYDRA_FULL_ERROR", "0") not in ("", "0")


def _first(text: str) -> str:
    lines = text.strip().splitlines()
    return lines[0].strip() if lines else ""


def without_traceback(text: str) -> str:
    """Return the message of an error that a loader process raised, without how it got there."""
    if not _WORKERS_ERROR.match(text):
        return text
    return _LINE_OF_ERROR.split(text)[-1].strip()
