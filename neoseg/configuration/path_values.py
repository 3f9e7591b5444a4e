"""Paths on the command line: taken as they stand, whatever characters they have."""

from __future__ import annotations

import re
from collections.abc import Sequence
from fnmatch import fnmatchcase
from pathlib import Path

from neoseg.findings.command_line import quoted

PATHS = (
    *("run", "runs", "resume", "plan", "input", "patch", "checkpoint", "from", "only"),
    *("model", "init_from", "pool", "curve", "volumes", "ages", "curves", "licence"),
    *("cohort.root", "split.file", "annotation.file", "annotation.full"),
    *(
        f"extra_cohorts.*.{key}"
        for key in ("cohort.root", "split.file", "annotation.file", "annotation.full")
    ),
)
"""Patterns of the keys whose values are paths of what is there."""

NEW_PATHS = ("output", "report", "paths.*", "hydra.run.dir")
"""Patterns of those whose values may be made."""

HOME = re.compile(r"(^|(?<=^\[)|(?<=,))\s*~(?=/|$)")
"""The sign of the home folder, of a path or of each in a list."""


def is_path(key: str) -> bool:
    """Tell whether the value of a key is a path."""
    return any(fnmatchcase(key.lstrip("+~"), pattern) for pattern in (*PATHS, *NEW_PATHS))


def with_quoted_paths(arguments: Sequence[str]) -> list[str]:
    """Return the arguments of a command with the paths among them quoted.

    Hydra would read brackets, commas, equals signs and letters beyond ASCII as its own. A value is
    a path where there is something of that name, or where something new can be made there; others
    stay as they are, such as a list of runs but for the ~/ in it.
    """
    return [_with_quoted_path(argument) for argument in arguments]


def _with_quoted_path(argument: str) -> str:
    key, equals, value = argument.partition("=")
    if not equals or argument.startswith("-") or not is_path(key) or value[:1] in ("", '"', "'"):
        return argument
    if HOME.search(value):  # which not every shell expands behind a sign, and none in a list
        home = str(Path.home())
        value = HOME.sub(lambda _: home, value)
        argument = f"{key}={value}"
    path = Path(value)
    try:
        new = not set("[],") & set(path.name) and path.parent.is_dir()
        there = path.exists() or (new and key.lstrip("+~") not in PATHS)
    except OSError:  # a name that is too long
        return argument
    return f"{key}={quoted(value)}" if there else argument
