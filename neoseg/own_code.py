"""Record which code of other packages a run was made with, to tell when it has changed since.

A run is its settings, its data and its code. Of packages that a user allows or that declare entry
points, the code can change from one command to the next without a new version.
"""

import re
import sys
from collections.abc import Collection, Iterable
from importlib.machinery import PathFinder
from importlib.metadata import entry_points
from importlib.util import find_spec
from pathlib import Path

from neoseg.digests import digest_of
from neoseg.files import write_json
from neoseg.foreign import ForeignError, read_json

CODE = "code.json"
"""In a run folder: digest of each module of other packages that the training had imported."""

_MODULE = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*", re.ASCII)


def write_code(folder: Path, allow: Collection[str]) -> None:
    """Write the digests of imported modules; nothing if no other package is used.

    Args:
        folder: of the run.
        allow: packages or modules that the user allows.
    """
    packages = _packages(allow)
    names = [name for name in sys.modules if name.partition(".")[0] in packages]
    if code := _digests(names):
        write_json(folder / CODE, code, indent=1)
    else:
        (folder / CODE).unlink(missing_ok=True)


def current_code(folder: Path, allow: Collection[str]) -> dict[str, str]:
    """Return the digests, as they are now, of the modules that a run was made with."""
    if not (names := _recorded(folder)):
        return {}
    packages = _packages(allow)
    return _digests(name for name in names if name.partition(".")[0] in packages)


def changed_code(folder: Path, allow: Collection[str]) -> list[str]:
    """Return the modules that have changed since the training of a run; sorted."""
    before, now = _recorded(folder), current_code(folder, allow)
    return sorted(name for name, digest in now.items() if before[name] != digest)


def _packages(allow: Collection[str]) -> set[str]:
    groups = (group for group in entry_points().groups if group.startswith("neoseg."))
    declared = (entry.module for group in groups for entry in entry_points(group=group))
    return {name.partition(".")[0] for name in (*allow, *declared)} - {"neoseg"}


def _recorded(folder: Path) -> dict[str, str]:
    try:
        content = read_json(folder / CODE, within=folder)
        return {str(name): str(digest) for name, digest in content.items()}
    except (ForeignError, AttributeError):
        return {}


def _digests(names: Iterable[str]) -> dict[str, str]:
    """Return the digest of the source of each module that is found; none is imported."""
    found = {}
    for name in sorted(names):
        try:
            if _MODULE.fullmatch(name) and (path := source_of(name)):
                found[name] = digest_of(path)
        except OSError:  # a package that is gone
            continue
    return found


def source_of(module: str) -> Path | None:
    """Return the source file of a module or package, found without importing its parents."""
    name, *inner = module.split(".")
    try:
        spec = find_spec(name)
        for part in inner:
            if spec is None or spec.submodule_search_locations is None:
                return None
            name = f"{name}.{part}"
            spec = PathFinder.find_spec(name, spec.submodule_search_locations)
    except (ImportError, ValueError):
        return None
    origin = "" if spec is None else spec.origin or ""
    return Path(origin) if origin.endswith(".py") else None
