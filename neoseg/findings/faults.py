"""Faults of the machine that end a command, as opposed to errors in data or configuration.

Each fault is reported in one message that says what to do. The traceback goes into the log file.
"""

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
_LIMITED = {errno.ENOMEM, errno.EAGAIN, errno.EMFILE, errno.ENFILE}
_BROKEN = {errno.EIO, errno.ESTALE, errno.ENXIO, errno.ETIMEDOUT}
_GPU_MEMORY = re.compile(r"CUDA out of memory|CUDNN_STATUS_ALLOC_FAILED|CUBLAS_STATUS_ALLOC_FAILED")
_CPU_MEMORY = re.compile(r"DefaultCPUAllocator: .*alloc|std::bad_alloc|Unable to allocate")
_LIMIT = re.compile(r"can't start new thread|failed to map segment|[Cc]annot allocate memory")
_SHARED = re.compile(r"unable to .*(?:shared memory|</torch_)|out of shared memory|Bus error")
_SEMAPHORES = {"multiprocessing.synchronize", "multiprocessing.heap"}
_PEER = re.compile(
    r"Connection (?:closed|reset) by peer|NCCL (?:error|communicator)|Broken pipe.*gloo|"
    r"gloo.*(?:Broken pipe|[Tt]imed out)|recvValue failed"
)
_WORKER = re.compile(r"DataLoader worker \(pid\(?s?\)?:? ?[\d, ]+\)")
_WORKERS_ERROR = re.compile(r"^Caught \w+ in DataLoader worker process (\d+)\.")
_SHARING = {"torch.multiprocessing.reductions", "multiprocessing.resource_sharer"}
_LINE_OF_ERROR = re.compile(r"\n[\w.]*(?:Error|Exception|Interrupt)(?:: |\n|$)")
_TORCH_WRITE = re.compile(r"PytorchStreamWriter failed|file write failed")


def fault_message(error: BaseException) -> str | None:
    """Return the message to the user for a fault of the machine, or None for any other error.

    Faults are: too little GPU, main or shared memory, limits of the user, a full disk, a path that
    cannot be written, a file that disappeared, a broken disk or network drive, the death of a
    loader process or of another process of the training.
    """
    text = str(error)
    shared = _shared_memory_error(error)
    if shared is not None:
        return (
            "shared memory (/dev/shm), through which processes hand on patches, is full or cannot "
            "be used: give it more room (docker run --shm-size=8g, or --ipc=host), or do without "
            f"such processes: patches.workers=0 store.processes=1. {GO_ON} ({_first(shared)})"
        )
    if type(error).__name__ == "OutOfMemoryError" or _GPU_MEMORY.search(text):
        return f"the GPU has too little memory: {LOWER}; {LOWER_SCORING}. {GO_ON} ({_first(text)})"
    if isinstance(error, MemoryError) or _CPU_MEMORY.search(text):
        return (
            f"the machine has too little memory: {LOWER}, or patches.workers, each of which is a "
            f"process of its own; {LOWER_SCORING}. {GO_ON} ({_first(text) or 'MemoryError'})"
        )
    if isinstance(error, RuntimeError | ImportError | OSError) and (
        _LIMIT.search(text) or getattr(error, "errno", None) in _LIMITED
    ):
        return (
            "a limit of this machine or job is reached: raise it (ulimit -v, -u or -n, the memory "
            f"of the job), or lower patches.workers and OMP_NUM_THREADS. {GO_ON} ({_first(text)})"
        )
    if isinstance(error, RuntimeError) and _PEER.search(text):
        return (
            f"another process of this training ended or cannot be reached: {_first(text)}. Its "
            f"own message, above or in its log, is the cause. {GO_ON}"
        )
    if _WORKER.search(text) or _while_sharing(error):
        return (
            f"a process that loads patches died: {_first(text) or type(error).__name__}. If nobody "
            "ended it, it was killed for lack of memory (also shared memory, /dev/shm): lower "
            f"patches.workers or patches.size. {GO_ON}"
        )
    if isinstance(error, OSError) and _WORKERS_ERROR.match(text):
        return f"a process that loads patches failed: {without_traceback(text)}. {GO_ON}"
    if isinstance(error, OSError):
        return _file_message(error)
    if isinstance(error, RuntimeError) and _TORCH_WRITE.search(text):
        return f"a file could not be written, the disk may be full: {_first(text)}. {GO_ON}"
    return None


def is_full(error: BaseException) -> bool:
    """Return whether an error means that the disk is full, so that later writes will fail too."""
    return isinstance(error, OSError) and error.errno in _FULL


def _file_message(error: OSError) -> str | None:
    """Return the message for a fault of the file system, or None for any other error."""
    path = error.filename2 or error.filename or _path_of(error)
    name = f"{path}" if path else "a file"
    if error.errno in _FULL:
        return (
            f"{name} cannot be written: {error.strerror}. Make room, or set paths.runs, paths.data"
            f" or output to another disk. {GO_ON}"
        )
    if error.errno in _FORBIDDEN:
        return (
            f"{name} cannot be read or written: {error.strerror}. Correct its permissions, or set "
            f"paths.runs, paths.data or output to a folder of your own. {GO_ON}"
        )
    if error.errno in (errno.ENOENT, errno.ENOTDIR):
        return (
            f"{name} is not there, or no longer: {error.strerror}. Bring it back, or correct the "
            f"path. {GO_ON}"
        )
    if error.errno == errno.ENAMETOOLONG:
        return (
            f"{name} has too long a name for its file system; rename it, or the input that it is "
            f"made from. {GO_ON}"
        )
    if error.errno in _BROKEN:
        return f"{name} cannot be read or written: {error.strerror}. Check the disk. {GO_ON}"
    return None


def _shared_memory_error(error: BaseException) -> str | None:
    """Return the message of an error of shared memory among the error and its causes, if any."""
    cause: BaseException | None = error
    while cause is not None:
        text = without_traceback(str(cause))
        if isinstance(cause, RuntimeError) and _SHARED.search(str(cause)):
            return text
        if isinstance(cause, OSError) and _went_through(cause, _SEMAPHORES):
            return text
        cause = cause.__cause__ or cause.__context__
    return None


def _while_sharing(error: BaseException) -> bool:
    """Return whether fetching a tensor from another process failed, which means that it died."""
    if not isinstance(error, OSError | EOFError):
        return False
    return _went_through(error, _SHARING)


def _went_through(error: BaseException, modules: set[str]) -> bool:
    """Return whether the traceback of an error has a frame in one of the modules."""
    frames = traceback.walk_tb(error.__traceback__)
    return any(frame.f_globals.get("__name__") in modules for frame, _ in frames)


def _path_of(error: BaseException) -> str:
    """Return the path in the innermost frame of the traceback with a local path variable, or ""."""
    for frame, _ in reversed(list(traceback.walk_tb(error.__traceback__))):
        for name in ("path", "temporary", "target", "folder"):
            value = frame.f_locals.get(name)
            if isinstance(value, os.PathLike):
                return str(os.fspath(value))
    return ""


def note_traceback(log: logging.Logger, error: BaseException) -> None:
    """Write the traceback of an error to the log files but not to the screen."""
    info = (type(error), error, error.__traceback__)
    note_in_files(log.makeRecord(log.name, logging.ERROR, __file__, 0, "in full:", (), info))


def note_in_files(record: logging.LogRecord) -> None:
    """Write a record to the log files but not to the screen."""
    for handler in logging.getLogger().handlers:
        if isinstance(handler, logging.FileHandler):
            handler.handle(record)


def wants_traceback() -> bool:
    """Return whether the user requested tracebacks by HYDRA_FULL_ERROR."""
    return os.environ.get("HYDRA_FULL_ERROR", "0") not in ("", "0")


def _first(text: str) -> str:
    """Return the first line of a text."""
    lines = text.strip().splitlines()
    return lines[0].strip() if lines else ""


def without_traceback(text: str) -> str:
    """Return the message of an error that a loader process raised, without its traceback."""
    if not _WORKERS_ERROR.match(text):
        return text
    return _LINE_OF_ERROR.split(text)[-1].strip()
