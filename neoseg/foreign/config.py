"""Read the configuration of a run folder, in which keys may refer to keys and nothing else."""

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
"""Name of the complete configuration in a run folder, written at the start of the run."""

MAX_REFERENCES = 2**16
"""Budget of references that are followed; each costs 1, plus 1 per 64 letters of its value."""

_REFERENCE = re.compile(r"\$\{([A-Za-z_][\w.]*)\}")
"""A reference to another key; any other interpolation would call a resolver."""


def read_config(path: Path) -> dict[str, Any]:
    """Read a run's `config.yaml` as plain containers, without resolvers or other calls.

    Runs are written with every value resolved, so a resolver such as `${oc.env:...}` was added by
    somebody else and could read the secrets of whoever opens the run. Keys may refer to keys.

    Raises:
        ForeignError: names the file and what is wrong with it.
    """
    raw = read_yaml(path, within=path.parent)
    require_values(raw, str(path), _REFERENCE)
    resolved: dict[str, Any] = _Resolver(raw, path).resolved(raw)
    # Two harmless texts can form a resolver when joined.
    require_plain(resolved, str(path))
    require_values(resolved, str(path))
    return resolved


class _Resolver:
    """Replaces references by their values."""

    def __init__(self, root: dict[str, Any], path: Path) -> None:
        self.root, self.path, self.left = root, path, MAX_REFERENCES

    def resolved(self, node: Any, within: tuple[str, ...] = ()) -> Any:
        """Return a node with its references resolved; `within` are the references being followed.

        Mapping keys are not resolved: runs have no references in them.
        """
        if isinstance(node, dict):
            return {key: self.resolved(value, within) for key, value in node.items()}
        if isinstance(node, list):
            return [self.resolved(value, within) for value in node]
        if not isinstance(node, str) or "${" not in node:
            return node

        def value_of(match: re.Match[str]) -> Any:
            key, missing = match[1], object()
            target = value_at(self.root, key, missing)
            text = f"{self.path}: {node!r}"
            if key in within or len(within) > DEEPEST or target is missing:
                raise ForeignError(f"{text} refers to no value; write the value in its place")
            if isinstance(target, dict | list):
                raise ForeignError(f"{text} refers to a section, expected a value")
            value = self.resolved(target, (*within, key))
            self.left -= 1 + (len(str(value)) >> 6)
            if self.left < 0:
                raise ForeignError(f"{text} grows without bound; write the value in its place")
            return value

        whole = _REFERENCE.fullmatch(node)
        return value_of(whole) if whole else _REFERENCE.sub(lambda m: str(value_of(m)), node)
