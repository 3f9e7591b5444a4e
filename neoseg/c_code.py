"""Compile C files of the package once with the machine's compiler, and load them."""

from __future__ import annotations

import ctypes
import hashlib
import logging
import os
import platform
import shlex
import shutil
import subprocess
import tempfile
from functools import cache
from multiprocessing import parent_process
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

log = logging.getLogger(__name__)

SWITCH = "NEOSEG_NATIVE"
"""Environment variable; 0 disables the C functions in favour of PyTorch."""

_FLAGS = ("-O3", "-march=native", "-fno-math-errno", "-fno-trapping-math", "-fPIC", "-shared")

EXACT = ("-ffp-contract=off",)
"""Compiler flags with which each operation rounds separately, as written."""

REORDERED = ("-fno-signed-zeros", "-fassociative-math")
"""Compiler flags with which sums may be reordered to suit the processor."""


class BuildError(RuntimeError):
    """A C file cannot be compiled or loaded here; the message says why."""


@cache
def load(source: Path, flags: tuple[str, ...]) -> ctypes.CDLL | None:
    """Return the compiled functions of a C file, or None if they are unavailable or disabled.

    A failure is logged once per reason, however many files it concerns.
    """
    if os.environ.get(SWITCH, "1") == "0":
        log.info("%s=0: PyTorch computes what %s would", SWITCH, source.name)
        return None
    try:
        return build(source, flags, cache_folder())
    except BuildError as error:
        _tell(str(error))
        return None


@cache
def _tell(reason: str) -> None:
    # Worker processes of a training would repeat the same warning.
    level = logging.WARNING if parent_process() is None else logging.DEBUG
    log.log(
        level,
        "neoseg's C functions could not be compiled (%s); on a CPU losses take about seven times "
        "as long and bending a patch five times, with the same values. They need a C compiler "
        "(gcc, clang, or the one that CC names); %s=0 silences this.",
        reason,
        SWITCH,
    )


def address(tensor: Tensor | None) -> ctypes.c_void_p | None:
    """Return the data pointer of a contiguous tensor; NULL for None."""
    if tensor is None:
        return None
    assert tensor.is_contiguous()
    return ctypes.c_void_p(tensor.data_ptr())


def build(source: Path, flags: tuple[str, ...], folder: Path) -> ctypes.CDLL:
    """Compile a file into `folder`, unless cached for this source, compiler, flags and processor.

    Raises:
        BuildError: there is no compiler, it fails, or the library does not load.
    """
    compiler = find_compiler()
    version = _output([*compiler, "--version"])
    command = [*compiler, *_FLAGS, *flags]
    text = "\0".join([source.read_text(), *command, version, _processor()])
    digest = hashlib.sha256(text.encode()).hexdigest()[:16]
    target = folder / f"{source.stem}-{digest}.so"
    if not target.is_file():
        _compile([*command, str(source)], target)
    try:
        return ctypes.CDLL(str(target))
    except OSError:
        _compile([*command, str(source)], target)  # the cached file may be truncated
    try:
        return ctypes.CDLL(str(target))
    except OSError as error:
        raise BuildError(f"{target} does not load: {error}") from None


def find_compiler() -> list[str]:
    """Return the C compiler's command: CC, else cc, gcc or clang; raise `BuildError` if none."""
    configured = os.environ.get("CC")
    if configured:
        command = shlex.split(configured)
        if command and shutil.which(command[0]):
            return command
        raise BuildError(f"CC is '{configured}', which is not a command")
    for name in ("cc", "gcc", "clang"):
        if shutil.which(name):
            return [name]
    raise BuildError("no C compiler found")


def cache_folder() -> Path:
    """Return the cache folder, under $XDG_CACHE_HOME or ~/.cache; raise `BuildError` if neither."""
    root = os.environ.get("XDG_CACHE_HOME")
    try:
        return (Path(root) if root else Path.home() / ".cache") / "neoseg"
    except RuntimeError as error:  # a user without a home, as in some containers
        raise BuildError(f"no folder to keep them in: {error}; set XDG_CACHE_HOME") from None


def _compile(command: list[str], target: Path) -> None:
    """Compile to a temporary name and rename, so that concurrent jobs do not interfere."""
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=target.parent) as scratch:
            library = Path(scratch) / target.name
            _output([*command, "-o", str(library), "-lm"])
            library.replace(target)
    except OSError as error:
        raise BuildError(f"cannot write {target}: {error}; set XDG_CACHE_HOME") from None


def _output(command: list[str]) -> str:
    try:
        completed = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    except subprocess.CalledProcessError as error:
        last_line = (error.stderr.strip().splitlines() or ["no message"])[-1]
        raise BuildError(f"'{shlex.join(command[:3])} …' failed: {last_line}") from None
    except (OSError, subprocess.TimeoutExpired) as error:
        raise BuildError(f"'{command[0]}' does not run: {error}") from None
    return completed.stdout


def _processor() -> str:
    """Return the machine and its CPU flags: different machines may share one cache."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return f"{platform.machine()} {platform.processor()} {platform.node()}"
    flags = (line for line in lines if line.lower().startswith(("flags", "features")))
    return f"{platform.machine()} {next(flags, platform.node())}"
