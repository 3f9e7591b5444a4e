"""Reading what a stranger may have written: the configuration of a run folder, as data only."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

LARGEST = 4 * 2**20
"""Bytes of a configuration; real ones have some ten thousand."""

DEEPEST = 50
"""Levels of keys; real ones have six."""

_CALL = re.compile(r"\$\{[^}]*:")


class ForeignError(ValueError):
    """A file that is not what a run writes; nothing in it was used."""


def read_config(path: Path) -> DictConfig:
    """Return a run's `config.yaml`, in which nothing can call a resolver or another program.

    Runs are written with every value resolved, so that a resolver in one is not theirs: such as
    `${oc.env:...}` would read the secrets of whoever opens the run. Python tags and aliases, which
    can grow without bound, are refused as well; keys may refer to keys.

    Raises:
        ForeignError: naming the file and what is wrong with it.
    """
    try:
        size = path.stat().st_size
        if size > LARGEST:
            raise ForeignError(
                f"{path} has {size} bytes, more than the {LARGEST} that a configuration may have"
            )
        text = path.read_text(encoding="utf-8")
        _require_plain(path, text)
        raw = yaml.safe_load(text)
        if not isinstance(raw, dict):
            raise ForeignError(f"{path} holds {type(raw).__name__}, expected keys and values")
        for key, value in _strings(raw):
            if _CALL.search(value):
                raise ForeignError(
                    f"{path}: {key} is {value!r}, which would call a resolver; the configuration "
                    "of a run holds values alone. Write the value in its place if you trust the run"
                )
        config = OmegaConf.create(raw)
    except (OSError, UnicodeDecodeError, yaml.YAMLError, OmegaConfBaseException) as error:
        raise ForeignError(f"{path} cannot be read: {error}") from None
    assert isinstance(config, DictConfig)
    return config


def _require_plain(path: Path, text: str) -> None:
    """Raise `ForeignError` for YAML that grows or nests without bound."""
    depth = 0
    for event in yaml.parse(text, yaml.SafeLoader):
        if isinstance(event, yaml.AliasEvent):
            raise ForeignError(f"{path} has YAML aliases, which no run writes; write values out")
        depth += isinstance(event, yaml.CollectionStartEvent)
        depth -= isinstance(event, yaml.CollectionEndEvent)
        if depth > DEEPEST:
            raise ForeignError(f"{path} is nested too deeply to be a configuration")


def _strings(node: Any, prefix: str = "") -> Iterator[tuple[str, str]]:
    """Yield every text of nested containers with where it stands, keys included."""
    if isinstance(node, str):
        yield prefix, node
    elif isinstance(node, dict):
        for key, value in node.items():
            yield prefix, str(key)
            yield from _strings(value, f"{prefix}.{key}" if prefix else str(key))
    elif isinstance(node, list):
        for number, value in enumerate(node):
            yield from _strings(value, f"{prefix}[{number}]")
