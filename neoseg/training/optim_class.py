"""Optimizers and schedules as classes that a configuration names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from inspect import Parameter, signature
from typing import Any, TypeVar

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from neoseg.buildable import TargetError, find_object, require_targets
from neoseg.findings.nearest import nearest
from neoseg.findings.settings import ConfigError, WrongKeysError

PACKAGE = "torch.optim"
"""Where the class of a `_target_` lies if nothing else is allowed."""

ENTRY_POINTS = "neoseg.optimizers"
"""Group by which installed packages declare optimizers and schedules."""

Made = TypeVar("Made", Optimizer, LRScheduler)


def make_class(
    base: type[Made],
    first: Any,
    target: str,
    arguments: dict[str, Any],
    key: str,
    allow: Sequence[str],
) -> Made:
    """Call the class of a `_target_` that stands under `key`.

    Args:
        base: of which the class must be a subclass.
        first: its first argument: the parameters, or the optimizer.
        target: dotted path of the class.
        arguments: all others, by name.
        key: of the configuration.
        allow: packages beside `torch.optim` in which it may lie.

    Raises:
        ConfigError: a class that is not allowed or that is none, and values that it refuses.
        WrongKeysError: arguments that it does not have.
    """

    def accepts(found: Any) -> bool:
        return isinstance(found, type) and issubclass(found, base)

    node, what = {"_target_": target}, f"subclass of {base.__name__}"
    try:
        require_targets(node, (f"{PACKAGE}.",), accepts, what, ENTRY_POINTS, allow)
    except TargetError as error:
        raise ConfigError(f"{key}: {error}") from None
    kind = find_object(target)
    _, *known = signature(kind).parameters.values()
    names = [parameter.name for parameter in known]
    if not any(parameter.kind is Parameter.VAR_KEYWORD for parameter in known):
        WrongKeysError.require_none(
            f"{key}.{name} = {value!r}: {target} has no such argument{nearest(name, names)}"
            for name, value in arguments.items()
            if name not in names
        )

    def accepted(kept: Mapping[str, Any]) -> bool:
        try:
            kind(first, **kept)
        except Exception:  # whatever a class may raise
            return False
        return True

    try:
        made: Made = kind(first, **arguments)
    except Exception as error:
        # The one without which there would be no error is the one to correct.
        rest = {name: {k: v for k, v in arguments.items() if k != name} for name in arguments}
        wrong = [name for name in rest if accepted(rest[name])] or list(arguments)
        found = ", ".join(f"{key}.{name} = {arguments[name]!r}" for name in wrong)
        raise ConfigError(f"{found or key}: {target} cannot be made: {error}") from error
    return made
