"""The names that a misspelt one may have meant."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


def nearest(wrong: str, known: Iterable[str]) -> str:
    """End an error message: the names near `wrong`, or all of them."""
    names = list(map(str, known))
    near = get_close_matches(str(wrong), names, n=2, cutoff=0.6)
    if near:
        return f"; did you mean {' or '.join(repr(name) for name in near)}?"
    return f"; it can be {', '.join(names)}" if names else ""
