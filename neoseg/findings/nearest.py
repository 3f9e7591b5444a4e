"""Suggest names for a misspelt one."""

from collections.abc import Iterable
from difflib import get_close_matches


def nearest(wrong: str, known: Iterable[str]) -> str:
    """Return the end of an error message: the names most similar to `wrong`, ignoring case, or all
    names if none is similar.
    """
    names = list(map(str, known))
    folded = [name.casefold() for name in names]
    close = get_close_matches(str(wrong).casefold(), dict.fromkeys(folded), n=2, cutoff=0.6)
    similar = [
        name for key in close for name, lower in zip(names, folded, strict=True) if lower == key
    ]
    if similar:
        return f"; did you mean {' or '.join(repr(name) for name in similar)}?"
    return f"; it can be {', '.join(names)}" if names else ""
