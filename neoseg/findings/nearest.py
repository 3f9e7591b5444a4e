"""The names that a misspelt one may have meant."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


def nearest(wrong: str, known: Iterable[str]) -> str:
    """End an error message: the names near `wrong`, whatever their capitals, or all of them."""
    names = list(map(str, known))
    folded = [name.casefold() for name in names]
    close = get_close_matches(str(wrong).casefold(), dict.fromkeys(folded), n=2, cutoff=0.6)
    near = [name for key in close for name, own in zip(names, folded, strict=True) if own == key]
    if near:
        return f"; did you mean {' or '.join(repr(name) for name in near)}?"
    return f"; it can be {', '.join(names)}" if names else ""
