"""Check and build the objects that a configuration names: each `_target_` is checked before a call.

A configuration may come from an untrusted run folder or checkpoint. Its values are data; only
`_target_`s name code. They are limited to a fixed set of packages, to what installed packages
declare (entry points), and to what the user who starts the command allows.
"""

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache, partial
from importlib.metadata import entry_points
from typing import Any

from neoseg.errors import NeosegError
from neoseg.imports import import_monai

FORCE = "TORCH_FORCE_WEIGHTS_ONLY_LOAD"
"""Environment variable that forces `weights_only=True` for every call of `torch.load`."""

_READERS = ("bids", "dhcp", "folder", "freesurfer", "nnunet", "phantom", "table")
COHORTS = tuple(f"neoseg.cohort.read_{name}" for name in _READERS)
"""Readers that any configuration may call, including one from a run folder."""

READERS, NETWORKS, TRANSFORMS = "neoseg.readers", "neoseg.networks", "neoseg.transforms"
"""Entry-point groups in which installed packages declare what may be built."""


class TargetError(NeosegError):
    """A configuration names a `_target_` that is not allowed."""


def require_targets(
    node: Any,
    known: Sequence[str],
    accepts: Callable[[Any], bool],
    kind: str,
    group: str,
    allow: Sequence[str] = (),
) -> None:
    """Check every `_target_` at any depth of plain containers; nothing is called.

    Args:
        node: resolved node of a configuration.
        known: dotted paths of the allowed objects, which may be named by any path within their
            package; a path that ends with a dot allows all objects of a package.
        accepts: returns whether the object that a target names is of the right kind.
        kind: name of that kind, in the singular, for messages.
        group: entry-point group whose targets are allowed as well.
        allow: further packages whose objects are allowed; named by the user of the command, never
            by a file.

    Raises:
        TargetError: a target is refused; the message names the first one and what is allowed.
    """
    entry_targets = declared(group)
    open_packages = (*(name[:-1] for name in known if name.endswith(".")), *allow)
    packages = sorted({".".join(name.split(".")[:-1][:2]) for name in known})

    def inside(path: str, packages: Sequence[str]) -> bool:
        return any(f"{path}.".startswith(f"{package}.") for package in packages)

    for target in _targets(node):
        problem = "lies outside"
        if inside(target, (*packages, *allow)) or target in entry_targets:
            try:
                named_object = find_object(target)
            except (ImportError, ValueError) as error:
                raise TargetError(
                    f"_target_ cannot be found: {error}; install its package, or name the folder "
                    "of its file with --config-dir or PYTHONPATH"
                ) from error
            # A dotted path can leave its package through an imported module.
            is_allowed = target in entry_targets or inside(
                getattr(named_object, "__module__", None) or "", open_packages
            )
            if accepts(named_object) and (
                is_allowed or any(named_object is _find_known(name) for name in known)
            ):
                continue
            problem = f"is no {kind} of the known ones in"
        package = target.split(".")[0]
        raise TargetError(
            f"_target_ '{target}' {problem} {', '.join((*packages, *allow))}; choose a {kind} from "
            f"there, or, if you trust the package, add allow=[{package}] to the command"
        )


@cache
def _find_known(name: str) -> Any:
    """Return a known object, None if the installed version has no such name."""
    try:
        return None if name.endswith(".") else find_object(name)
    except ImportError:
        return None


def declared(group: str) -> tuple[str, ...]:
    """Return the dotted paths that installed packages declare in an entry-point group."""
    return tuple(entry.value.replace(":", ".") for entry in entry_points(group=group))


def config_dirs(hydra: Any) -> list[str]:
    """Return the `--config-dir` of the command line, in a list."""
    return [str(s.path) for s in hydra.runtime.config_sources if s.provider == "command-line"]


def find_code_beside(hydra: Any) -> None:
    """Add the user's `--config-dir` to `sys.path`, so that `allow=[module]` can name its files."""
    sys.path += [folder for folder in config_dirs(hydra) if folder not in sys.path]


def find_object(path: str) -> Any:
    """Import the object that a dotted path names.

    Raises:
        ImportError, ValueError: the name does not exist, or its module cannot be imported.
    """
    from hydra.utils import get_object  # takes a quarter of a second

    if path.startswith("monai."):
        import_monai()
    return get_object(path)


def build(node: Any) -> Any:
    """Build nested plain containers: each `_target_` is called with its other keys as arguments.

    With `_partial_: true` beside it, a `functools.partial` takes its place. The targets must have
    been checked; no interpolations are resolved.
    """
    if isinstance(node, list | tuple):
        return [build(value) for value in node]
    if not isinstance(node, dict):
        return node
    if "_target_" not in node:
        return {key: build(value) for key, value in node.items()}
    options = {k: build(v) for k, v in node.items() if k not in ("_target_", "_partial_")}
    factory = find_object(node["_target_"])
    return partial(factory, **options) if node.get("_partial_") else factory(**options)


def is_class(found: Any) -> bool:
    """Accept only classes, as a function might download or load anything."""
    return isinstance(found, type)


@contextmanager
def data_only() -> Iterator[None]:
    """Force `torch.load` to load data only within the block, whoever calls it.

    Some classes of the allowed packages load weights from a path or URL given as an argument.
    """
    before = os.environ.get(FORCE)
    os.environ[FORCE] = "1"
    try:
        yield
    finally:
        if before is None:
            del os.environ[FORCE]
        else:
            os.environ[FORCE] = before


def _targets(node: Any) -> Iterator[str]:
    """Yield every `_target_` in nested containers."""
    if isinstance(node, dict):
        if "_target_" in node:
            yield str(node["_target_"])
        for value in node.values():
            yield from _targets(value)
    elif isinstance(node, list | tuple):
        for value in node:
            yield from _targets(value)
