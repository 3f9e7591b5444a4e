"""Commands and settings in messages, so that they do what they say when they are pasted."""

from __future__ import annotations

import re
import shlex


def override(key: str, value: object) -> str:
    """Return a setting as a shell (bash, zsh) takes it, `'cohort.root=/data/a b'`."""
    return shlex.quote(f"{key}={value}")


def command(name: str, *overrides: str) -> str:
    """Return the line that starts a command of neoseg with what `override` returned."""
    return " ".join(["python -m neoseg." + name, *overrides])


def plain(text: str) -> str:
    """Return a text as a value within `[...]` or `{...}`: between quotes where Hydra needs them."""
    if text.lower() in ("null", "true", "false", "nan", "inf"):
        return quoted(text)
    return text if re.fullmatch(r"[^\W\d][\w.-]*(?: [\w.-]+)*", text, re.ASCII) else quoted(text)


def quoted(value: str) -> str:
    """Return a value between quotes, as Hydra takes it as it stands."""
    return '"' + value.replace('\\"', '\\\\"').replace('"', '\\"') + '"'
