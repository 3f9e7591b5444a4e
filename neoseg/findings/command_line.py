"""Quote commands and settings that neoseg writes, so that they are read as they are meant."""

import re
import shlex
from collections.abc import Collection
from typing import Any

from neoseg.buildable import config_dirs


def override(key: str, value: object) -> str:
    """Return a setting quoted for a shell (bash, zsh), as in `'cohort.root=/data/a b'`."""
    return shlex.quote(f"{key}={value}")


def command(name: str, *overrides: str) -> str:
    """Return the command line of a neoseg command with settings quoted by `override`."""
    return " ".join(["python -m neoseg." + name, *overrides])


def quoted(value: str) -> str:
    """Return a value in double quotes, which Hydra takes literally."""
    return '"' + value.replace('\\"', '\\\\"').replace('"', '\\"') + '"'


def literal(node: Any) -> Any:
    """Return text, or all text in containers, for a configuration file that is to be composed.

    Composed, it is what it was: `${...}` stands for no value, whoever wrote it.
    """
    if isinstance(node, dict):
        return {key: literal(value) for key, value in node.items()}
    if isinstance(node, list | tuple):
        return [literal(value) for value in node]
    return re.sub(r"(\\*)\$\{", r"\1\1\\${", node) if isinstance(node, str) else node


def again(allow: Collection[str]) -> list[str]:
    """Return the options with which another command finds the code of this one, for a shell."""
    return [*own_configs(), override("allow", f"[{','.join(allow)}]")] if allow else []


def own_configs() -> list[str]:
    """Return the options that name the folders of configurations of this command, for a shell."""
    from hydra.core.hydra_config import HydraConfig  # takes long to import

    folders = config_dirs(HydraConfig.get()) if HydraConfig.initialized() else []
    return [f"--config-dir={shlex.quote(folder)}" for folder in folders]
