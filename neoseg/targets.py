"""What a configuration may build: every `_target_` passes here before anything is called.

A configuration may be a stranger's, out of a run folder or a checkpoint. Its values are data; the
only ones that name code are `_target_`s, and they reach a fixed set of packages.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from hydra.utils import get_object

FORCE = "TORCH_FORCE_WEIGHTS_ONLY_LOAD"
"""With it, `torch.load` unpickles nothing, whoever calls it and whatever they ask for."""


COHORT_TARGETS = ("neoseg.cohort",)
"""Where the readers are that a configuration, also one found in a run folder, may call."""


class TargetError(ValueError):
    """A `_target_` that a configuration may not name."""


def require_targets(
    node: Any, packages: Sequence[str], accepts: Callable[[Any], bool], kind: str
) -> None:
    """Check every `_target_` at any depth of plain containers; nothing is called.

    Args:
        node: of a configuration, resolved.
        packages: in which a target must lie, and be defined.
        accepts: tells whether the object that a target names is of the right kind.
        kind: that kind, in the singular.

    Raises:
        TargetError: naming the first target that is refused, and what is allowed.
    """
    for target in _targets(node):
        _require(target, packages, accepts, kind)


def is_class(found: Any) -> bool:
    """Accept classes: a function may download or load what it likes."""
    return isinstance(found, type)


def is_reader(found: Any) -> bool:
    """Accept functions `read_...`: what else a package of cohorts has may write."""
    return callable(found) and getattr(found, "__name__", "").startswith("read_")


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


def _require(
    target: str, packages: Sequence[str], accepts: Callable[[Any], bool], kind: str
) -> None:
    def inside(path: str) -> bool:
        return any(f"{path}.".startswith(f"{package}.") for package in packages)

    problem = "lies outside"
    if inside(target):
        try:
            found = get_object(target)
        except (ImportError, ValueError) as error:
            raise TargetError(f"_target_ cannot be found: {error}") from error
        # A dotted path can leave its package through a module that it imports.
        if accepts(found) and inside(getattr(found, "__module__", None) or ""):
            return
        problem = f"is no {kind} of"
    raise TargetError(
        f"_target_ '{target}' {problem} {', '.join(packages)}; choose a {kind} from there"
    )
