"""Where the configuration lies, and what Hydra needs to know before it composes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

_PACKAGE = Path(__file__).resolve().parent

CONFIG_DIR = _PACKAGE / "conf" if (_PACKAGE / "conf").is_dir() else _PACKAGE.parent / "conf"
"""`conf/` of the checkout, or the copy that travels inside an installed package."""


def register_resolvers() -> None:
    """Make `${first:a,b}` known: the first argument that is neither null nor empty."""
    OmegaConf.register_new_resolver(
        "first",
        lambda *values: next((v for v in values if v not in (None, "", "None")), None),
        replace=True,
    )


def plain(node: Any) -> Any:
    """Return resolved plain containers of a configuration node."""
    if isinstance(node, DictConfig) or OmegaConf.is_config(node):
        return OmegaConf.to_container(node, resolve=True, throw_on_missing=True)
    return node


register_resolvers()
