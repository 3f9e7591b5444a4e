"""Reading what a stranger may have written: the configuration of a run folder, as data only."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from neoseg.errors import NeosegError

CONFIG = "config.yaml"
"""In a run folder: its whole configuration, there from the start."""

LARGEST = 4 * 2**20
"""Bytes of a configuration; real ones have some ten thousand."""

DEEPEST = 50
"""Levels of keys; real ones have six."""

_REFERENCE = re.compile(r"\$\{([A-Za-z_][\w.]*)\}")
"""A key that refers to another one; whatever else begins like that would call a resolver."""


class ForeignError(NeosegError):
    """A file that is not what a run writes; nothing in it was used."""


def read_config(path: Path) -> dict[str, Any]:
    """Return a run's `config.yaml` as plain containers, in which nothing can call a resolver or
    another program.

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
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ForeignError(f"{path} cannot be read: {error}") from None
    if not isinstance(raw, dict):
        raise ForeignError(f"{path} holds {type(raw).__name__}, expected keys and values")
    for key, value in _strings(raw):
        if "${" in _REFERENCE.sub("", value):
            raise ForeignError(
                f"{path}: {key} is {value!r}, which would call a resolver; the configuration "
                "of a run holds values alone. Write the value in its place if you trust the run"
            )
    resolved = _resolved(raw, raw, path, ())
    assert isinstance(resolved, dict)
    return resolved


def value_at(config: Any, key: str, default: Any = None) -> Any:
    """Return what stands at a dotted key of nested mappings, the default where nothing does."""
    for part in key.split("."):
        if not isinstance(config, dict) or part not in config:
            return default
        config = config[part]
    return default if config is None else config


def _resolved(node: Any, root: dict[str, Any], path: Path, within: tuple[str, ...]) -> Any:
    """Return a node with the values that its references name; `within` are those followed so far.

    Keys are not resolved: one that refers to another is no key of a run.
    """
    if isinstance(node, dict):
        return {key: _resolved(value, root, path, within) for key, value in node.items()}
    if isinstance(node, list):
        return [_resolved(value, root, path, within) for value in node]
    if not isinstance(node, str) or "${" not in node:
        return node

    def value_of(key: str) -> Any:
        missing = object()
        found = value_at(root, key, missing)
        if key in within or len(within) > DEEPEST or found is missing:
            raise ForeignError(f"{path}: {node!r} refers to no value; write the value in its place")
        if isinstance(found, dict | list):
            raise ForeignError(f"{path}: {node!r} refers to a section, expected a value")
        return _resolved(found, root, path, (*within, key))

    whole = _REFERENCE.fullmatch(node)
    if whole:
        return value_of(whole[1])
    return _REFERENCE.sub(lambda match: str(value_of(match[1])), node)


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
