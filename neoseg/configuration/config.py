"""Where the configuration lies, and what Hydra needs to know before it composes."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

_PACKAGE = Path(__file__).resolve().parents[1]

CONFIG_DIR = _PACKAGE / "conf" if (_PACKAGE / "conf").is_dir() else _PACKAGE.parent / "conf"
"""`conf/` of the checkout, or the copy that travels inside an installed package."""

LONGEST_NAME = 200
"""Bytes of the name of a job's folder; file systems allow 255, also for files named after it."""


def register_resolvers() -> None:
    """Make `${first:a,b}` known, the first argument that is neither null nor empty, and others.

    `${folder_name:text}` is the text without slashes and quotes, or where file systems refuse so
    long a name its start and a fingerprint.
    """
    OmegaConf.register_new_resolver(
        "first",
        lambda *values: next((v for v in values if v not in (None, "", "None")), None),
        replace=True,
    )
    OmegaConf.register_new_resolver("folder_name", _folder_name, replace=True)


def _folder_name(text: str) -> str:
    # One folder, here: not one that a value such as ../x leads to. Without quotes, so that it can
    # stand between quotes in a command.
    text = re.sub(r"[\"'\\]", "", text.replace("/", "-"))
    if len(text.encode()) <= LONGEST_NAME:
        return text
    digest = hashlib.sha256(text.encode()).hexdigest()[:8]
    return f"{text.encode()[: LONGEST_NAME - 9].decode(errors='ignore')}_{digest}"


def plain(node: Any) -> Any:
    """Return resolved plain containers of a configuration node."""
    if isinstance(node, DictConfig) or OmegaConf.is_config(node):
        return OmegaConf.to_container(node, resolve=True, throw_on_missing=True)
    return node


register_resolvers()
