"""Describe in few words how the configurations of runs differ."""

import json
from collections.abc import Collection, Iterator, Sequence
from fnmatch import fnmatchcase
from pathlib import PurePosixPath
from typing import Any

_FREE_SECTIONS = ("loss", "extra_cohorts")
"""Sections with freely chosen keys; elsewhere, a missing key is one that an earlier version lacked.
"""

_NAMES = ("name", "kind", "_target_")
"""Keys that name what a section configures."""

_MAX_LENGTH = 40


def differences(configs: Sequence[dict[str, Any]], same: Collection[str] = ()) -> list[str]:
    """Return for each configuration how it differs from the others, such as "lr 0.01".

    Few keys are used, chosen greedily, sections first; equal texts mean equal configurations.

    Args:
        configs: configurations of the runs, as plain containers.
        same: patterns of keys to ignore.
    """
    flat = [dict(_flatten(config)) for config in configs]
    values = {}
    for key in dict.fromkeys(key for settings in flat for key in settings):
        if any(fnmatchcase(key, pattern) for pattern in same):
            continue
        texts = [
            json.dumps(settings[key], default=str) if key in settings else None for settings in flat
        ]
        if key.partition(".")[0] not in _FREE_SECTIONS:
            value = next(text for text in texts if text is not None)
            texts = [value if text is None else text for text in texts]
        if len(set(texts)) > 1:
            values[key] = texts
    sections = {key.rpartition(".")[0] for settings in flat for key in settings}
    chosen: list[str] = []
    groups = [0] * len(flat)
    for key in sorted(values, key=lambda key: (key not in sections, key.count("."), key)):
        finer = [*zip(groups, values[key], strict=True)]
        if len(set(finer)) > len(set(groups)):
            chosen.append(key)
            groups = [[*dict.fromkeys(finer)].index(part) for part in finer]
    labels = {key: _short_texts([settings.get(key) for settings in flat]) for key in chosen}
    top = {key.partition(".")[0] for settings in flat for key in settings}
    return [
        ", ".join(f"{_short_key(key, top)} {texts[number]}" for key, texts in labels.items())
        for number in range(len(flat))
    ]


def _short_key(key: str, top: Collection[str]) -> str:
    """Return the last part of a key, or the last two if the last is also a top-level key."""
    *_, parent, last = ["", *key.split(".")]
    return f"{parent}.{last}" if parent and last in top else last


def _flatten(node: Any, key: str = "") -> Iterator[tuple[str, Any]]:
    """Yield (dotted key, value) of all leaves, and (key, name of its content) of each section."""
    if not isinstance(node, dict) or not node:
        yield key, node
        return
    if key:
        names = (node[name] for name in _NAMES if name in node)
        yield key, [*node] if key in _FREE_SECTIONS else next(names, "set")
    for name, item in node.items():
        yield from _flatten(item, f"{key}.{name}" if key else str(name))


def _short_texts(values: Sequence[Any]) -> list[str]:
    """Return the shortest texts of the values that keep different values distinct."""
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
        # The end of a path, a class or a section is its most specific part.
        text = "none" if value is None else "/".join(PurePosixPath(str(value)).parts[-parts:])
    return text if len(text) <= _MAX_LENGTH * parts else f"{text[: _MAX_LENGTH - 1]}…"
