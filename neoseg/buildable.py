"""What a configuration may build: every `_target_` passes here before anything is called.

A configuration may be a stranger's, out of a run folder or a checkpoint. Its values are data; the
only ones that name code are `_target_`s, and they reach a fixed set of packages, what installed
packages declare (entry points), and what the user who starts the command allows.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache, partial
from importlib.metadata import entry_points
from typing import Any

from neoseg.borrowed import import_monai
from neoseg.errors import NeosegError

FORCE = "TORCH_FORCE_WEIGHTS_ONLY_LOAD"
"""With it, `torch.load` unpickles nothing, whoever calls it and whatever they ask for."""

_READERS = ("bids", "dhcp", "folder", "freesurfer", "nnunet", "phantom", "table")
COHORTS = tuple(f"neoseg.cohort.read_{name}" for name in _READERS)
"""The readers that a configuration, also one found in a run folder, may call."""

READERS, NETWORKS, TRANSFORMS = "neoseg.readers", "neoseg.networks", "neoseg.transforms"
"""Groups of entry points by which installed packages declare what may be built."""


class TargetError(NeosegError):
    """A `_target_` that a configuration may not name."""


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
        node: of a configuration, resolved.
        known: dotted paths of the objects that any file may name, by whatever path of their
            package; one that ends with a dot is of a package whose objects may all be named.
        accepts: tells whether the object that a target names is of the right kind.
        kind: that kind, in the singular.
        group: of the entry points whose targets are fine as well.
        allow: packages whose objects may be named too; the user of the command has named them,
            never a file.

    Raises:
        TargetError: naming the first target that is refused, and what is allowed.
    """
    exact = declared(group)
    open_to = (*(name[:-1] for name in known if name.endswith(".")), *allow)
    packages = sorted({".".join(name.split(".")[:-1][:2]) for name in known})

    def inside(path: str, packages: Sequence[str]) -> bool:
        return any(f"{path}.".startswith(f"{package}.") for package in packages)

    for target in _targets(node):
        problem = "lies outside"
        if inside(target, (*packages, *allow)) or target in exact:
            try:
                found = find_object(target)
            except (ImportError, ValueError) as error:
                raise TargetError(
                    f"_target_ cannot be found: {error}; install its package, or name the folder "
                    "of its file with --config-dir or PYTHONPATH"
                ) from error
            # A dotted path can leave its package through a module that it imports.
            own = target in exact or inside(getattr(found, "__module__", None) or "", open_to)
            if accepts(found) and (own or any(found is _known(name) for name in known)):
                continue
            problem = f"is no {kind} of the known ones in"
        package = target.split(".")[0]
        raise TargetError(
            f"_target_ '{target}' {problem} {', '.join((*packages, *allow))}; choose a {kind} from "
            f"there, or, if you trust the package, add allow=[{package}] to the command"
        )


@cache
def _known(name: str) -> Any:
    """Return a known object, None where the installed version has none of that name."""
    try:
        return None if name.endswith(".") else find_object(name)
    except ImportError:
        return None


def declared(group: str) -> tuple[str, ...]:
    """Return the dotted paths that installed packages declare in a group of entry points."""
    return tuple(entry.value.replace(":", ".") for entry in entry_points(group=group))


def find_code_beside(hydra: Any) -> None:
    """Let `allow=[module]` name a file in the user's own `--config-dir`, known to `hydra`."""
    for source in hydra.runtime.config_sources:
        if source.provider == "command-line" and source.path not in sys.path:
            sys.path.append(source.path)


def find_object(path: str) -> Any:
    """Import what a dotted path names.

    Raises:
        ImportError, ValueError: there is nothing of that name, or its module cannot be imported.
    """
    from hydra.utils import get_object  # takes a quarter of a second

    if path.startswith("monai."):
        import_monai()
    return get_object(path)


def build(node: Any) -> Any:
    """Return what nested plain containers describe: each `_target_` called with its other keys.

    With `_partial_: true` beside it, what can be called later with further arguments. The targets
    must have been checked; nothing in the containers is resolved.
    """
    if isinstance(node, list | tuple):
        return [build(value) for value in node]
    if not isinstance(node, dict):
        return node
    if "_target_" not in node:
        return {key: build(value) for key, value in node.items()}
    options = {k: build(v) for k, v in node.items() if k not in ("_target_", "_partial_")}
    made = find_object(node["_target_"])
    return partial(made, **options) if node.get("_partial_") else made(**options)


def is_class(found: Any) -> bool:
    """Accept classes: a function may download or load what it likes."""
    return isinstance(found, type)


@contextmanager
def data_only() -> Iterator[None]:
    """Let `torch.load` read nothing but data in the block, whoever calls it.

    Some classes of the allowed packages load weights from a path or an address among their
    arguments.
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
