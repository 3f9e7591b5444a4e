"""Optimizers and schedules given as classes by `_target_`."""

from collections.abc import Sequence
from inspect import Parameter, signature
from typing import Any, TypeVar

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from neoseg.buildable import TargetError, find_object, require_targets
from neoseg.findings.nearest import nearest
from neoseg.findings.settings import ConfigError, WrongKeysError

PACKAGE = "torch.optim"
"""Package of the classes that a `_target_` may name if no other is allowed."""

ENTRY_POINTS = "neoseg.optimizers"
"""Entry-point group in which installed packages declare optimizers and schedules."""

Made = TypeVar("Made", Optimizer, LRScheduler)


def make_class(
    base: type[Made],
    first: Any,
    target: str,
    arguments: dict[str, Any],
    key: str,
    allow: Sequence[str],
) -> Made:
    """Build an instance of the class named by a `_target_` under `key`.

    Args:
        base: required base class.
        first: first positional argument: the parameters, or the optimizer.
        target: dotted path of the class.
        arguments: all others, by name.
        key: of the configuration.
        allow: packages besides `torch.optim` from which the class may come.

    Raises:
        ConfigError: a class that is not allowed or of the wrong kind, or values that it refuses.
        WrongKeysError: arguments that it does not have.
    """

    def accepts(candidate: Any) -> bool:
        return isinstance(candidate, type) and issubclass(candidate, base)

    node, expected = {"_target_": target}, f"subclass of {base.__name__}"
    try:
        require_targets(node, (f"{PACKAGE}.",), accepts, expected, ENTRY_POINTS, allow)
    except TargetError as error:
        raise ConfigError(f"{key}: {error}") from None
    kind = find_object(target)
    _, *parameters = signature(kind).parameters.values()
    names = [parameter.name for parameter in parameters]
    if not any(parameter.kind is Parameter.VAR_KEYWORD for parameter in parameters):
        WrongKeysError.require_none(
            f"{key}.{name} = {value!r}: {target} has no such argument{nearest(name, names)}"
            for name, value in arguments.items()
            if name not in names
        )

    try:
        instance: Made = kind(first, **arguments)
    except Exception as error:  # a class may raise anything
        given = (
            ", ".join(f"{name}={value!r}" for name, value in arguments.items()) or "its defaults"
        )
        raise ConfigError(f"{key}: {target} cannot be made with {given}: {error}") from error
    return instance
