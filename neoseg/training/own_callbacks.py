"""Callbacks of the user's own, beside those of a run: `trainer.callbacks`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from neoseg.buildable import TargetError, build, require_targets
from neoseg.findings.settings import ConfigError

PACKAGE = "lightning.pytorch.callbacks"
KNOWN = tuple(
    f"{PACKAGE}.{name}"
    for name in ("DeviceStatsMonitor", "LearningRateMonitor", "ModelSummary", "RichModelSummary")
)
"""Those that any file may name: they only look. Others may write wherever they are told to."""

ENTRY_POINTS = "neoseg.callbacks"
"""Group by which installed packages declare callbacks."""


def require_callbacks(nodes: Iterable[Mapping[str, Any]], allow: Iterable[str] = ()) -> None:
    """Raise `ConfigError` for an entry that names no callback, or one that may not be named."""
    from lightning.pytorch.callbacks import Callback

    def accepts(found: Any) -> bool:
        return isinstance(found, type) and issubclass(found, Callback)

    for number, node in enumerate(nodes):
        if "_target_" not in node:
            raise ConfigError(
                f"trainer.callbacks[{number}] is {dict(node)}, expected {{_target_: CLASS, ...}}"
            )
        try:
            require_targets(node, KNOWN, accepts, "Callback", ENTRY_POINTS, tuple(allow))
        except TargetError as error:
            raise ConfigError(f"trainer.callbacks[{number}]: {error}") from None


def make_own_callbacks(nodes: Iterable[Mapping[str, Any]]) -> list[Any]:
    """Return the callbacks of checked entries; raises `ConfigError` where one cannot be made."""
    made = []
    for number, node in enumerate(nodes):
        try:
            made.append(build(dict(node)))
        except Exception as error:  # whatever a class may raise
            raise ConfigError(
                f"trainer.callbacks[{number}]: {node['_target_']} cannot be made: {error}"
            ) from error
    return made
