"""Pick the one file of a session that BIDS entities ask for."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Name:
    """A BIDS name without subject, session and extension, e.g. `desc-brain_mask`."""

    text: str
    suffix: str
    entities: tuple[tuple[str, str], ...]

    @property
    def desc(self) -> str | None:
        """The value of `desc-`, or None."""
        return dict(self.entities).get("desc")


def parse_name(text: str) -> Name:
    """Split `desc-brain_mask` into its entities and its suffix."""
    *parts, suffix = text.split("_")
    pairs = tuple((key, value) for key, dash, value in (p.partition("-") for p in parts) if dash)
    return Name(text, suffix, pairs)


def with_suffix(names: Iterable[str], suffixes: Sequence[str]) -> list[Name]:
    """Return the names that end in one of the suffixes, sorted."""
    return [name for name in map(parse_name, sorted(names)) if name.suffix in suffixes]


def choose(candidates: Sequence[Name], desc: str | None) -> list[Name]:
    """Return what matches `desc`; without one, the names that have none, or else all."""
    if desc is not None:
        return [name for name in candidates if name.desc == desc]
    plain = [name for name in candidates if name.desc is None]
    return plain or list(candidates)
