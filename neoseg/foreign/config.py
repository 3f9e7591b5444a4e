"""The configuration of a run folder, in which keys may refer to keys and to nothing else."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from neoseg.foreign.files import ForeignError
from neoseg.foreign.values import (
    DEEPEST,
    read_yaml,
    require_plain,
    require_values,
    value_at,
)

CONFIG = "config.yaml"
"""In a run folder: its whole configuration, there from the start."""

MOST_REFERENCES = 2**16
"""That are followed in it; each counts once, and once more for 64 letters."""

_REFERENCE = re.compile(r"\$\{([A-Za-z_][\w.]*)\}")
"""A key that refers to another one; whatever else begins like that would call a resolver."""


def read_config(path: Path) -> dict[str, Any]:
    """Return a run's `config.yaml` as plain containers, in which nothing can call a resolver or
    another program.

    Runs are written with every value resolved, so that a resolver in one is not theirs: such as
    `${oc.env:...}` would read the secrets of whoever opens the run. Keys may refer to keys.

    Raises:
        ForeignError: naming the file and what is wrong with it.
    """
    raw = read_yaml(path, within=path.parent)
    require_values(raw, str(path), _REFERENCE)
    resolved: dict[str, Any] = _Resolver(raw, path).resolved(raw)
    # Two texts without a resolver can be one with it.
    require_plain(resolved, str(path))
    require_values(resolved, str(path))
    return resolved


class _Resolver:
    """Puts values in the place of references to them."""

    def __init__(self, root: dict[str, Any], path: Path) -> None:
        self.root, self.path, self.left = root, path, MOST_REFERENCES

    def resolved(self, node: Any, within: tuple[str, ...] = ()) -> Any:
        """Return a node with the values that its references name; `within` are those followed.

        Keys are not resolved: one that refers to another is no key of a run.
        """
        if isinstance(node, dict):
            return {key: self.resolved(value, within) for key, value in node.items()}
        if isinstance(node, list):
            return [self.resolved(value, within) for value in node]
        if not isinstance(node, str) or "${" not in node:
            return node

        def value_of(match: re.Match[str]) -> Any:
            key, missing = match[1], object()
            found = value_at(self.root, key, missing)
            text = f"{self.path}: {node!r}"
            if key in within or len(within) > DEEPEST or found is missing:
                raise ForeignError(f"{text} refers to no value; write the value in its place")
            if isinstance(found, dict | list):
                raise ForeignError(f"{text} refers to a section, expected a value")
            value = self.resolved(found, (*within, key))
            self.left -= 1 + (len(str(value)) >> 6)
            if self.left < 0:
                raise ForeignError(f"{text} grows without bound; write the value in its place")
            return value

        whole = _REFERENCE.fullmatch(node)
        return value_of(whole) if whole else _REFERENCE.sub(lambda m: str(value_of(m)), node)
