"""Compiles C files of the package with the machine's compiler, each once, and loads them."""

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
"""Environment variable; 0 keeps to what PyTorch computes."""

_FLAGS = ("-O3", "-march=native", "-fno-math-errno", "-fno-trapping-math", "-fPIC", "-shared")

EXACT = ("-ffp-contract=off",)
"""Each operation rounds as it is written."""

REORDERED = ("-fno-signed-zeros", "-fassociative-math")
"""Sums may be taken in the order that suits the processor."""


class BuildError(RuntimeError):
    """A C file cannot be compiled or loaded here; the message says why."""


@cache
def load(source: Path, flags: tuple[str, ...]) -> ctypes.CDLL | None:
    """Return the compiled functions of a C file, or None where they cannot be had.

    The log has one note then, however many files it concerns.
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
    # Processes that a training starts for a part of its work would say the same again.
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
    """Return where the values of a contiguous tensor lie; NULL for None."""
    if tensor is None:
        return None
    assert tensor.is_contiguous()
    return ctypes.c_void_p(tensor.data_ptr())


def build(source: Path, flags: tuple[str, ...], folder: Path) -> ctypes.CDLL:
    """Compile a file into `folder` unless it is there for this source and processor.

    Raises:
        BuildError: no compiler, a compiler that fails, or a library that does not load.
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
        _compile([*command, str(source)], target)  # it may have been cut off
    try:
        return ctypes.CDLL(str(target))
    except OSError as error:
        raise BuildError(f"{target} does not load: {error}") from None


def find_compiler() -> list[str]:
    """Return the command of the C compiler: CC, else cc, gcc or clang; else raise `BuildError`."""
    named = os.environ.get("CC")
    if named:
        command = shlex.split(named)
        if command and shutil.which(command[0]):
            return command
        raise BuildError(f"CC is '{named}', which is not a command")
    for name in ("cc", "gcc", "clang"):
        if shutil.which(name):
            return [name]
    raise BuildError("no C compiler found")


def cache_folder() -> Path:
    """Return where libraries are kept, under $XDG_CACHE_HOME or ~/.cache; raise `BuildError`."""
    root = os.environ.get("XDG_CACHE_HOME")
    try:
        return (Path(root) if root else Path.home() / ".cache") / "neoseg"
    except RuntimeError as error:  # a user without a home, as in some containers
        raise BuildError(f"no folder to keep them in: {error}; set XDG_CACHE_HOME") from None


def _compile(command: list[str], target: Path) -> None:
    """Compile to a temporary name and rename, so that jobs that start together do no harm."""
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=target.parent) as scratch:
            made = Path(scratch) / target.name
            _output([*command, "-o", str(made), "-lm"])
            made.replace(target)
    except OSError as error:
        raise BuildError(f"cannot write {target}: {error}; set XDG_CACHE_HOME") from None


def _output(command: list[str]) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    except subprocess.CalledProcessError as error:
        last = (error.stderr.strip().splitlines() or ["no message"])[-1]
        raise BuildError(f"'{shlex.join(command[:3])} …' failed: {last}") from None
    except (OSError, subprocess.TimeoutExpired) as error:
        raise BuildError(f"'{command[0]}' does not run: {error}") from None
    return done.stdout


def _processor() -> str:
    """Say which instructions the processor has: a cache may be shared by unlike machines."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return f"{platform.machine()} {platform.processor()} {platform.node()}"
    flags = (line for line in lines if line.lower().startswith(("flags", "features")))
    return f"{platform.machine()} {next(flags, platform.node())}"
