"""Record which code of other packages a run was made with, to tell when it has changed since.

A run is its settings, its data and its code. Of packages that a user allows or that declare entry
points, the code can change from one command to the next without a new version.
"""

import re
import sys
from collections.abc import Collection, Iterable, Mapping
from importlib.machinery import PathFinder
from importlib.metadata import entry_points
from importlib.util import find_spec
from pathlib import Path

from neoseg.digests import digest_of
from neoseg.files import write_json
from neoseg.foreign import ForeignError, read_json

CODE = "code.json"
"""In a run folder: digest of each module of other packages that the training had imported."""

_INSTALLED = frozenset({"site-packages", "dist-packages"})
"""Names of folders of installed packages, which do not belong to each other."""

_MODULE = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*", re.ASCII)


def write_code(folder: Path, allow: Collection[str]) -> None:
    """Write the digests of imported modules; nothing if no other package is used.

    Args:
        folder: of the run.
        allow: packages or modules that the user allows.
    """
    if code := current_code(sys.modules, allow):
        write_json(folder / CODE, code, indent=1)
    else:
        (folder / CODE).unlink(missing_ok=True)


def recorded_code(folder: Path) -> dict[str, str]:
    """Return the digests of the modules that a run was made with."""
    try:
        content = read_json(folder / CODE, within=folder)
        return {str(name): str(digest) for name, digest in content.items()}
    except (ForeignError, AttributeError):
        return {}


def current_code(names: Iterable[str], allow: Collection[str]) -> dict[str, str]:
    """Return the digests, as they are now, of those modules that are a user's; none is imported.

    These are the allowed ones, those of packages with entry points, and what lies beside an allowed
    module that is a file of its own, which may import it.
    """
    if not names or not (packages := _packages(allow)):
        return {}
    files = (source_of(name) for name in packages)
    own = {f.parent.resolve() for f in files if f is not None and f.name != "__init__.py"}
    own = {folder for folder in own if not _INSTALLED & {*folder.parts}}
    found = {}
    for name in sorted(filter(_MODULE.fullmatch, names)):
        top = name.partition(".")[0]
        try:
            is_own = top in packages or (top != "neoseg" and _place_of(top) in own)
            if is_own and (path := source_of(name)):
                found[name] = digest_of(path)
        except OSError:  # a package that is gone
            continue
    return found


def _place_of(top: str) -> Path | None:
    """Return the folder that holds a top-level module or package."""
    source = source_of(top)
    if source is None:
        return None
    return source.parents[1 if source.name == "__init__.py" else 0].resolve()


def changed_code(recorded: Mapping[str, str], allow: Collection[str]) -> list[str]:
    """Return the modules that have changed since the training of a run; sorted."""
    now = current_code(recorded, allow)
    return sorted(name for name, digest in now.items() if recorded[name] != digest)


def _packages(allow: Collection[str]) -> set[str]:
    groups = (group for group in entry_points().groups if group.startswith("neoseg."))
    declared = (entry.module for group in groups for entry in entry_points(group=group))
    return {name.partition(".")[0] for name in (*allow, *declared)} - {"neoseg"}


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
