"""Compiles `kernels.c` with the machine's C compiler, once, and loads it."""

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
from pathlib import Path

log = logging.getLogger(__name__)

SOURCE = Path(__file__).with_name("kernels.c")
SWITCH = "NEOSEG_NATIVE"
"""Environment variable; 0 keeps to the passes in PyTorch."""
_FLAGS = (
    "-O3",
    "-march=native",
    "-fno-math-errno",
    "-fno-trapping-math",
    "-fno-signed-zeros",
    "-fassociative-math",
    "-fPIC",
    "-shared",
)


class BuildError(RuntimeError):
    """The kernels cannot be compiled or loaded here; the message says why."""


@cache
def load() -> ctypes.CDLL | None:
    """Return the compiled kernels, or None, with one note in the log, where there are none."""
    if os.environ.get(SWITCH, "1") == "0":
        log.info("%s=0: losses are computed by PyTorch alone", SWITCH)
        return None
    try:
        return build(cache_folder())
    except BuildError as error:
        log.warning(
            "the loss kernels could not be compiled (%s); losses on a CPU take about seven times "
            "as long, with the same values. Install a C compiler (gcc or clang) or name one in CC, "
            "or set %s=0 to silence this.",
            error,
            SWITCH,
        )
        return None


def build(folder: Path) -> ctypes.CDLL:
    """Compile the kernels into `folder` unless they are there for this source and processor.

    Raises:
        BuildError: no compiler, a compiler that fails, or a library that does not load.
    """
    compiler = find_compiler()
    version = _output([*compiler, "--version"])
    text = "\0".join([SOURCE.read_text(), *_FLAGS, *compiler, version, _processor()])
    target = folder / f"kernels-{hashlib.sha256(text.encode()).hexdigest()[:16]}.so"
    if not target.is_file():
        _compile(compiler, target)
    try:
        return ctypes.CDLL(str(target))
    except OSError as error:
        raise BuildError(f"{target} does not load: {error}") from None


def find_compiler() -> list[str]:
    """Return the command of the C compiler: CC, else cc, gcc or clang.

    Raises:
        BuildError: if there is none.
    """
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
    """Return where compiled kernels are kept: `$XDG_CACHE_HOME/neoseg`, by default in ~/.cache."""
    root = os.environ.get("XDG_CACHE_HOME")
    return (Path(root) if root else Path.home() / ".cache") / "neoseg"


def _compile(compiler: list[str], target: Path) -> None:
    """Compile to a temporary name and rename, so that jobs that start together do no harm."""
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=target.parent) as scratch:
            made = Path(scratch) / target.name
            _output([*compiler, *_FLAGS, str(SOURCE), "-o", str(made), "-lm"])
            made.replace(target)
    except OSError as error:
        raise BuildError(f"cannot write {target}: {error}") from None


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
