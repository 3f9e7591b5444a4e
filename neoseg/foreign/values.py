"""Read JSON and YAML as a limited number of plain, finite values."""

import json
import math
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import yaml

from neoseg.foreign.files import LARGEST, LARGEST_RECORD, ForeignError, read_text

DEEPEST = 50
"""Largest nesting depth; real files have six levels."""

MAX_VALUES = 2**18
"""Largest number of values in a file."""


def read_json(path: Path, within: Path | None = None) -> Any:
    """Read JSON as plain containers; NaN and infinite numbers become None."""
    return json_of(read_text(path, LARGEST_RECORD, within), str(path))


def json_of(text: str, where: str) -> Any:
    """Parse JSON like `read_json`; `where` is the source named in errors."""
    # Containers cost far more memory than their text, so they are counted before.
    if sum(map(text.count, ",[{")) > 4 * MAX_VALUES:
        raise ForeignError(f"{where} holds too many values to be what a run writes")
    try:
        content = json.loads(
            text, parse_constant=lambda _: None, parse_float=_finite, object_pairs_hook=_distinct
        )
    except (ValueError, RecursionError) as error:
        raise ForeignError(f"{where} cannot be read: {error}") from None
    require_plain(content, where)
    return content


_SURROGATE = re.compile("[\ud800-\udfff]")


def _distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return a JSON object; of a key that stands in it twice, Python would take the last."""
    content = dict(pairs)
    if len(content) < len(pairs):
        _refuse_twice(key for key, _ in pairs)
    return content


def _refuse_twice(keys: Iterable[Any]) -> None:
    known = set()
    for key in keys:
        if key in known:
            raise ValueError(f"the key {key!r} stands there twice; delete one")
        known.add(key)


def _finite(text: str) -> float | None:
    number = float(text)
    return number if math.isfinite(number) else None


SAFE_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
"""The C loader, if PyYAML has it: seven times as fast."""


class _Loader(SAFE_LOADER):  # type: ignore[misc]
    """Loads mappings, strings, numbers, booleans and null; dates are strings, `<<` is a key.

    So is 1:30, which YAML 1.1 takes for a number to base 60, in a time that grows with the square
    of its length.
    """

    def resolve(self, kind: type[yaml.Node], value: str | None, implicit: Any) -> str:
        """Return the tag of a node."""
        if kind is yaml.ScalarNode and implicit[0] and value is not None and ":" in value:
            return str(self.DEFAULT_SCALAR_TAG)
        return str(super().resolve(kind, value, implicit))

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """Refuse a key that stands twice, of which YAML libraries take the last."""
        keys = (key for key, _ in node.value if isinstance(key, yaml.ScalarNode))
        _refuse_twice(self.construct_object(key) for key in keys)
        return dict(super().construct_mapping(node, deep))


_KINDS = ("null", "bool", "int", "float")
_Loader.yaml_implicit_resolvers = {
    first: [(tag, form) for tag, form in resolvers if tag.rpartition(":")[2] in _KINDS]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


def read_yaml(path: Path, within: Path | None = None) -> dict[str, Any]:
    """Read a YAML mapping as plain containers.

    Tags are refused, as are aliases of containers, which can grow without bound.

    Raises:
        ForeignError: names the file and what is wrong with it.
    """
    text = read_text(path, LARGEST, within)
    try:
        _require_flat(path, text)
        raw = yaml.load(text, _Loader)  # a SafeLoader
    except (ValueError, yaml.YAMLError) as error:
        if isinstance(error, ForeignError):
            raise
        raise ForeignError(f"{path} cannot be read: {error}") from None
    if not isinstance(raw, dict):
        raise ForeignError(f"{path} holds {type(raw).__name__}, expected keys and values")
    require_plain(raw, str(path))
    return raw


def is_storable(number: float) -> bool:
    """Return whether a number is finite and fits into 64 bits."""
    return -(2**63) <= number < 2**63


def require_plain(node: Any, where: str) -> None:
    """Raise `ForeignError` unless containers hold a limited number of plain, finite values."""
    budget = MAX_VALUES

    def look(node: Any, depth: int) -> None:
        nonlocal budget
        budget -= 1 + (len(node) >> 6 if isinstance(node, str) else 0)
        if isinstance(node, str) and _SURROGATE.search(node):
            raise ForeignError(f"{where} holds half a character (a lone surrogate), expected text")
        if depth > DEEPEST or budget < 0:
            reason = "is nested too deeply" if budget >= 0 else "holds too many values"
            raise ForeignError(f"{where} {reason} to be what a run writes")
        if isinstance(node, dict):
            for key, value in node.items():
                look(key, DEEPEST)  # so that a container is refused as a key
                if isinstance(key, str) and not key.isprintable():
                    raise ForeignError(f"{where} has the key {key!r}, expected printable keys")
                look(value, depth + 1)
        elif isinstance(node, list | tuple):
            for value in node:
                look(value, depth + 1)
        elif isinstance(node, int | float) and not is_storable(node):
            raise ForeignError(f"{where} holds a number that is not finite or too large")
        elif not isinstance(node, str | int | float | None):
            raise ForeignError(f"{where} holds {type(node).__name__}, expected texts and numbers")

    look(node, 0)


def require_values(node: Any, where: str, fine: re.Pattern[str] | None = None) -> None:
    """Raise `ForeignError` if any string would call a resolver; matches of `fine` are allowed."""
    for key, value in _strings(node):
        if "${" in (fine.sub("", value) if fine else value):
            raise ForeignError(
                f"{where}: {key} is {value!r}, which would call a resolver; what a run writes "
                "holds values alone. Write the value in its place if you trust the run"
            )


def value_at(config: Any, key: str, default: Any = None) -> Any:
    """Return the value at a dotted key of nested mappings, `default` if it is missing or null."""
    for part in key.split("."):
        if not isinstance(config, dict) or part not in config:
            return default
        config = config[part]
    return default if config is None else config


def _require_flat(path: Path, text: str) -> None:
    """Raise `ForeignError` for YAML with aliases of containers, tags, or too deep nesting."""
    depth, containers, left = 0, set(), 2 * MAX_VALUES
    for event in yaml.parse(text, SAFE_LOADER):
        left -= 1
        if left < 0:
            raise ForeignError(f"{path} holds too many values to be a configuration")
        if isinstance(event, yaml.AliasEvent):
            if event.anchor in containers:
                raise ForeignError(f"{path} has YAML aliases of containers; write values out")
            continue
        if getattr(event, "tag", None) not in (None, "!"):
            raise ForeignError(f"{path} cannot be read: it has YAML tags")
        if isinstance(event, yaml.CollectionStartEvent):
            containers.add(event.anchor)
        depth += isinstance(event, yaml.CollectionStartEvent)
        depth -= isinstance(event, yaml.CollectionEndEvent)
        if depth > DEEPEST:
            raise ForeignError(f"{path} is nested too deeply to be a configuration")


def _strings(node: Any, prefix: str = "") -> Iterator[tuple[str, str]]:
    """Yield every string in nested containers with its location, including keys."""
    if isinstance(node, str):
        yield prefix, node
    elif isinstance(node, dict):
        for key, value in node.items():
            yield prefix, str(key)
            yield from _strings(value, f"{prefix}.{key}" if prefix else str(key))
    elif isinstance(node, list | tuple):
        for number, value in enumerate(node):
            yield from _strings(value, f"{prefix}[{number}]")
