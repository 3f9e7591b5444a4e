"""An order that looks random and is a function of names and seeds alone."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable


def shuffled(names: Iterable[str], *seed: int | str) -> list[str]:
    """Return the names ordered by a hash of (seed, name).

    Unlike a generator's permutation this is the same in every library version, whatever order the
    names come in, and a name that is added or removed leaves the others in their order.
    """
    stem = ":".join(map(str, seed))

    def key(name: str) -> tuple[bytes, str]:
        return hashlib.sha256(f"{stem}:{name}".encode()).digest(), name

    return sorted(set(names), key=key)
