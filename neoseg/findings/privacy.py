"""What reports, cards and W&B tell others: paths, commands and subjects can be left out."""

from __future__ import annotations

import re
import socket
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    import pandas as pd

Privacy = Literal["none", "paths", "subjects"]
"""What is left out: nothing; absolute paths, the command line and the host; also the ids of
subjects and sessions, in whose place running numbers stand.
"""

PATH, WITHHELD = "[path]", "[withheld]"

_WHOLE = re.compile(r"(~?/|~\w*$|[A-Za-z]:[/\\]|\\\\|file:).*", re.DOTALL)
_INSIDE = re.compile(r"(?<![\w./:~\]])(?:file:|~\w*|[A-Za-z]:|\\)?[/\\][^\s'\",;:()\[\]{}]+")
_IDS = re.compile(r"(?<![A-Za-z0-9])(sub|ses)-[A-Za-z0-9]+")
_COMMANDS = ("command", "host", "user")
_LISTS = ("subjects", "exclude", "full", "not_drawn")


def shared(node: Any, privacy: Privacy, folders: Iterable[str] = ()) -> Any:
    """Return plain containers as they are told to others.

    Args:
        node: such as a card or a configuration.
        privacy: what is left out.
        folders: paths that are known, which may have spaces.
    """
    if privacy == "none":
        return node
    host = re.compile(rf"(?<![\w.-]){re.escape(socket.gethostname())}(?![\w.-])")
    known = [folder for folder in folders if folder not in ("", ".", "/")]

    def told(node: Any) -> Any:
        if isinstance(node, dict):
            return {told(key): kept(key, value) for key, value in node.items()}
        if isinstance(node, list | tuple):
            return [told(value) for value in node]
        return text_of(node) if isinstance(node, str) else node

    def kept(key: Any, value: Any) -> Any:
        if key in _COMMANDS and value is not None:
            return WITHHELD
        if privacy == "subjects" and key in _LISTS and isinstance(value, dict):
            return {told(name): kept(key, below) for name, below in value.items()}
        if privacy == "subjects" and key in _LISTS and isinstance(value, list | tuple):
            return f"{len(value)} {WITHHELD}"
        return told(value)

    def text_of(text: str) -> str:
        for folder in known:
            text = text.replace(folder, PATH)
        text = _INSIDE.sub(PATH, PATH if _WHOLE.fullmatch(text) else text)
        text = host.sub(WITHHELD, text)
        return _IDS.sub(r"\1-*", text) if privacy == "subjects" else text

    return told(node)


def numbered(names: Iterable[str]) -> dict[str, str]:
    """Return running numbers in the place of names, in their order; "" stays."""
    return {name: str(n) for n, name in enumerate(sorted(set(names) - {""}), start=1)} | {"": ""}


def without_ids(scores: pd.DataFrame) -> pd.DataFrame:
    """Return a score table with running numbers in the place of subjects and sessions."""
    ids = {name: scores[name].map(numbered(scores[name])) for name in ("subject", "session")}
    return scores.assign(**ids)
