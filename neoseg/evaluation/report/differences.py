"""What tells the runs of an experiment apart, in few words."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Sequence
from fnmatch import fnmatchcase
from pathlib import PurePosixPath
from typing import Any

_OPEN = ("loss", "extra_cohorts")
"""Sections whose keys are chosen; elsewhere a missing key is one that a version did not know."""

_NAMES = ("name", "kind", "_target_")
"""Keys that say what else a section holds."""

_LONGEST = 40


def differences(configs: Sequence[dict[str, Any]], same: Collection[str] = ()) -> list[str]:
    """Return for each configuration what tells it from the others that differ, such as "lr 0.01".

    As few keys as will do, the names of sections first: equal texts are equal configurations.

    Args:
        configs: of the runs, as plain containers.
        same: patterns of keys that make no difference.
    """
    flat = [dict(_values(config)) for config in configs]
    values = {}
    for key in dict.fromkeys(key for own in flat for key in own):
        if any(fnmatchcase(key, pattern) for pattern in same):
            continue
        texts = [json.dumps(own[key], default=str) if key in own else None for own in flat]
        if key.partition(".")[0] not in _OPEN:
            known = next(text for text in texts if text is not None)
            texts = [known if text is None else text for text in texts]
        if len(set(texts)) > 1:
            values[key] = texts
    sections = {key.rpartition(".")[0] for own in flat for key in own}
    chosen: list[str] = []
    parts = [0] * len(flat)
    for key in sorted(values, key=lambda key: (key not in sections, key.count("."), key)):
        finer = [*zip(parts, values[key], strict=True)]
        if len(set(finer)) > len(set(parts)):
            chosen.append(key)
            parts = [[*dict.fromkeys(finer)].index(part) for part in finer]
    told = {key: _texts([own.get(key) for own in flat]) for key in chosen}
    top = {key.partition(".")[0] for own in flat for key in own}
    return [
        ", ".join(f"{_short(key, top)} {texts[place]}" for key, texts in told.items())
        for place in range(len(flat))
    ]


def _short(key: str, top: Collection[str]) -> str:
    """Return the end of a key: its last part, or two where that is also a key at the top."""
    *_, before, last = ["", *key.split(".")]
    return f"{before}.{last}" if before and last in top else last


def _values(node: Any, key: str = "") -> Iterator[tuple[str, Any]]:
    """Yield key and value of all values, and of each section what it is called."""
    if not isinstance(node, dict) or not node:
        yield key, node
        return
    if key:
        named = (node[name] for name in _NAMES if name in node)
        yield key, [*node] if key in _OPEN else next(named, "set")
    for name, item in node.items():
        yield from _values(item, f"{key}.{name}" if key else str(name))


def _texts(values: Sequence[Any]) -> list[str]:
    """Return values as short as keeps different ones apart."""
    count = len({json.dumps(value, default=str) for value in values})
    for parts in range(1, 2 + max(str(value).count("/") for value in values)):
        texts = [_text(value, parts) for value in values]
        if len(set(texts)) == count:
            return texts
    return [json.dumps(value, default=str) for value in values]


def _text(value: Any, parts: int) -> str:
    if isinstance(value, list):
        text = "+".join(_text(item, parts) for item in value)
    elif isinstance(value, float):
        text = f"{value:g}"
    else:
        # Of a path, a class or a whole section the end says what it is.
        text = "none" if value is None else "/".join(PurePosixPath(str(value)).parts[-parts:])
    return text if len(text) <= _LONGEST * parts else f"{text[: _LONGEST - 1]}…"
