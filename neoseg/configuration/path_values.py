"""Paths on the command line, quoted so that Hydra takes them literally."""

import re
from collections.abc import Sequence
from fnmatch import fnmatchcase
from pathlib import Path

from neoseg.findings.command_line import quoted
from neoseg.findings.settings import ConfigError

_PATHS = (
    *("run", "runs", "resume", "plan", "input", "patch", "checkpoint", "from", "only"),
    *("model", "init_from", "root", "pool", "curve", "volumes", "ages", "curves", "licence"),
    *("cohort.root", "split.file", "annotation.file", "annotation.full"),
    *(
        f"extra_cohorts.*.{key}"
        for key in ("cohort.root", "split.file", "annotation.file", "annotation.full")
    ),
)
"""Patterns of the keys whose values are existing paths."""

_NEW_PATHS = ("output", "report", "paths.*", "hydra.run.dir")
"""Patterns of the keys whose values are paths that may be created."""

_PATTERN = re.compile(r"([^\[{,][^,]*)?(?<!\$)\{\w+\}[^,]*")
"""A pattern of file names, such as `labels/{subject}`, whose braces are text."""

HOME = re.compile(r"(^|(?<=^\[)|(?<=,))\s*~(?=/|$)")
"""A tilde for the home folder, at the start of a path or of each path in a list."""


def is_path(key: str) -> bool:
    """Return whether the value of a key is a path."""
    return any(fnmatchcase(key.lstrip("+~"), pattern) for pattern in (*_PATHS, *_NEW_PATHS))


def with_quoted_paths(arguments: Sequence[str]) -> list[str]:
    """Return the arguments of a command with all paths quoted.

    Hydra would interpret brackets, commas, equals signs and non-ASCII letters. A value is quoted if
    the path exists or can be created, or if it is a pattern with names in braces. Other values,
    such as a list of runs, are only changed by expanding ~/.
    """
    return [_with_quoted_path(argument) for argument in arguments]


def _with_quoted_path(argument: str) -> str:
    key, equals, value = argument.partition("=")
    if not equals or argument.startswith("-") or value[:1] in ("", '"', "'"):
        return argument
    if not is_path(key):
        return f"{key}={quoted(value)}" if _PATTERN.fullmatch(value) else argument
    if HOME.search(value):  # not every shell expands it after an equals sign, and none in a list
        home = str(Path.home())
        value = HOME.sub(lambda _: home, value)
        argument = f"{key}={value}"
    path = Path(value)
    try:
        can_be_created = not set("[],") & set(path.name) and path.parent.is_dir()
        is_path_value = path.exists() or (can_be_created and key.lstrip("+~") not in _PATHS)
    except OSError:  # a name that is too long
        return argument
    if not is_path_value:
        return argument
    if "${" in (value if path.exists() else str(path.parent)):
        raise ConfigError(
            f"{argument}: in configurations ${{...}} stands for the value of a key, so no folder "
            "or file can be called so; rename it, or make a link to it"
        )
    return f"{key}={quoted(value)}"
