"""Remove paths, commands and subjects from what reports, cards and W&B show to others."""

from __future__ import annotations

import re
import socket
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    import pandas as pd

Privacy = Literal["none", "paths", "subjects"]
"""What is removed: nothing; absolute paths, the command line and the host; or these and the ids of
subjects and sessions, which are replaced by running numbers in score tables and `*` in texts.
"""

PATH, WITHHELD = "[path]", "[withheld]"

_ABSOLUTE_PATH = re.compile(r"(~?/|~\w*$|[A-Za-z]:[/\\]|\\\\|file:).*", re.DOTALL)
_PATH_IN_TEXT = re.compile(r"(?<![\w./:~\]])(?:file:|~\w*|[A-Za-z]:|\\)?[/\\][^\s'\",;:()\[\]{}]+")
_IDS = re.compile(r"(?<![A-Za-z0-9])(sub|ses)-[A-Za-z0-9]+")
_WITHHELD_KEYS = ("command", "host", "user")
_SUBJECT_KEYS = ("subjects", "exclude", "full", "not_drawn")


def shared(node: Any, privacy: Privacy, folders: Iterable[str] = ()) -> Any:
    """Return plain containers in the form in which they are shown to others.

    Args:
        node: for example a card or a configuration.
        privacy: what is removed.
        folders: known paths, which may contain spaces.
    """
    if privacy == "none":
        return node
    host = re.compile(rf"(?<![\w.-]){re.escape(socket.gethostname())}(?![\w.-])")
    paths = [folder for folder in folders if folder not in ("", ".", "/")]

    def redact(node: Any) -> Any:
        if isinstance(node, dict):
            return {redact(key): redact_entry(key, value) for key, value in node.items()}
        if isinstance(node, list | tuple):
            return [redact(value) for value in node]
        return redact_text(node) if isinstance(node, str) else node

    def redact_entry(key: Any, value: Any) -> Any:
        if key in _WITHHELD_KEYS and value is not None:
            return WITHHELD
        if privacy == "subjects" and key in _SUBJECT_KEYS and isinstance(value, dict):
            return {redact(name): redact_entry(key, child) for name, child in value.items()}
        if privacy == "subjects" and key in _SUBJECT_KEYS and isinstance(value, list | tuple):
            return f"{len(value)} {WITHHELD}"
        return redact(value)

    def redact_text(text: str) -> str:
        for folder in paths:
            text = text.replace(folder, PATH)
        text = _PATH_IN_TEXT.sub(PATH, PATH if _ABSOLUTE_PATH.fullmatch(text) else text)
        text = host.sub(WITHHELD, text)
        return _IDS.sub(r"\1-*", text) if privacy == "subjects" else text

    return redact(node)


def numbered(names: Iterable[str]) -> dict[str, str]:
    """Return running numbers for names, in sorted order; "" stays empty."""
    return {name: str(n) for n, name in enumerate(sorted(set(names) - {""}), start=1)} | {"": ""}


def without_ids(scores: pd.DataFrame) -> pd.DataFrame:
    """Return a score table with running numbers instead of subjects and sessions."""
    ids = {name: scores[name].map(numbered(scores[name])) for name in ("subject", "session")}
    return scores.assign(**ids)
