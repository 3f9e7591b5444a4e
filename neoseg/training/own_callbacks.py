"""User-defined callbacks of a run: `trainer.callbacks`."""

import io
import pickle
from collections.abc import Iterable, Mapping
from typing import Any

import torch

from neoseg.buildable import TargetError, build, require_targets
from neoseg.findings.settings import ConfigError

PACKAGE = "lightning.pytorch.callbacks"
KNOWN = tuple(
    f"{PACKAGE}.{name}"
    for name in ("DeviceStatsMonitor", "LearningRateMonitor", "ModelSummary", "RichModelSummary")
)
"""Callbacks that any file may name: they only observe. Others may write to arbitrary paths."""

ENTRY_POINTS = "neoseg.callbacks"
"""Entry-point group in which installed packages declare callbacks."""


def require_callbacks(nodes: Iterable[Mapping[str, Any]], allow: Iterable[str] = ()) -> None:
    """Raise `ConfigError` for an entry that is not a callback, or one that is not allowed."""
    from lightning.pytorch.callbacks import Callback

    def accepts(found: Any) -> bool:
        return isinstance(found, type) and issubclass(found, Callback)

    for number, node in enumerate(nodes):
        if "_target_" not in node or "_partial_" in node:
            raise ConfigError(
                f"trainer.callbacks[{number}] is {dict(node)}, expected {{_target_: CLASS, ...}}, "
                "without _partial_"
            )
        try:
            require_targets(node, KNOWN, accepts, "Callback", ENTRY_POINTS, tuple(allow))
        except TargetError as error:
            raise ConfigError(f"trainer.callbacks[{number}]: {error}") from None


def require_plain_state(callbacks: Iterable[Any]) -> None:
    """Raise `ConfigError` for a callback whose state could not be read back from a checkpoint.

    Checkpoints are read as data alone: numbers, strings, tensors, and containers of these.
    """
    for callback in callbacks:
        kind = type(callback)
        if kind.__module__.startswith(("neoseg.", "lightning.")):
            continue
        buffer = io.BytesIO()
        try:
            torch.save(callback.state_dict(), buffer)
            buffer.seek(0)
            torch.load(buffer, weights_only=True)
        except (pickle.PickleError, AttributeError, TypeError, RuntimeError) as error:
            raise ConfigError(
                f"{kind.__module__}.{kind.__name__}.state_dict() has more than numbers, texts and "
                f"tensors, of which a checkpoint could not be read: {error}"
            ) from None


def make_own_callbacks(nodes: Iterable[Mapping[str, Any]]) -> list[Any]:
    """Build the callbacks of checked entries; raises `ConfigError` if one cannot be built."""
    callbacks = []
    for number, node in enumerate(nodes):
        try:
            callbacks.append(build(dict(node)))
        except Exception as error:  # a class may raise anything
            raise ConfigError(
                f"trainer.callbacks[{number}]: {node['_target_']} cannot be made: {error}"
            ) from error
    return callbacks
