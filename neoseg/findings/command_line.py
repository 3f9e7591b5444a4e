"""Commands and settings in messages, so that they do what they say when they are pasted."""

from __future__ import annotations

import shlex


def override(key: str, value: object) -> str:
    """Return a setting as a shell (bash, zsh) takes it, `'cohort.root=/data/a b'`."""
    return shlex.quote(f"{key}={value}")


def command(name: str, *overrides: str) -> str:
    """Return the line that starts a command of neoseg with what `override` returned."""
    return " ".join(["python -m neoseg." + name, *overrides])


def quoted(value: str) -> str:
    """Return a value between quotes, as Hydra takes it as it stands."""
    return '"' + value.replace('\\"', '\\\\"').replace('"', '\\"') + '"'
