"""A label table to edit, made of the names that somebody else gave to integers."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import yaml

from neoseg.labels.table import HEX_COLOUR, colour_of

BACKGROUND = "BG"

SIDES = {"left": "right", "lh": "rh", "lt": "rt", "l": "r"}
SWAPPED = SIDES | {right: left for left, right in SIDES.items()}
"""Words for a side, and those for the other one."""

ELSEWHERE = {
    "left": "links linke linker linkes gauche izquierdo izquierda esquerdo esquerda sinistro "
    "sinistra sinister sinistrum",
    "right": "rechts rechte rechter rechtes droit droite derecho derecha direito direita destro "
    "destra dexter dextra dextrum",
}
"""What a side is called in other languages."""

_ENGLISH = {word: side for side, words in ELSEWHERE.items() for word in words.split()}
_WORDS = re.compile(r"[^\W_]+")
_JOINED = re.compile(
    r"(?<![^\W_])(left|right)(?=[A-Z0-9])|(?<=[a-z0-9])(Left|Right)(?![^\W_])"
    r"|(?<=[a-z])([LR])(?![^\W_])"
)
"""A side that is written together with its structure: `leftThalamus`, `ThalamusLeft`, `ThalL`."""


@dataclass(frozen=True)
class Named:
    """What an integer of label files is called; "" is what is not known."""

    index: int
    name: str
    abbreviation: str = ""
    color: str = ""


@dataclass(frozen=True)
class Region:
    """A name for several integers together."""

    name: str
    members: tuple[int, ...]


def draft(name: str, named: Iterable[Named], regions: Iterable[Region] = ()) -> dict[str, Any]:
    """Return a label table as plain containers: leaves, regions as classes, guessed mirror pairs.

    The background is 0, which is added where it has no name. Abbreviations that are not known are
    the names with what a command line would not take replaced. Regions of one integer, or of the
    integers of an earlier region, are left out, as they are no classes of their own.
    """
    known = {item.index: item for item in named}
    known.setdefault(0, Named(0, "Background"))
    regions = list(regions)
    taken = {item.name.casefold() for item in [*known.values()]} | {
        region.name.casefold() for region in regions
    }
    leaves = []
    for index, item in sorted(known.items()):
        text = item.abbreviation or (BACKGROUND if index == 0 else item.name)
        color = item.color if re.fullmatch(HEX_COLOUR, item.color) else colour_of(index)
        row = {"index": index, "name": item.name, "abbreviation": _short(text, index, item, taken)}
        leaves.append(row | {"color": color})
    classes = []
    sets = {frozenset([index]) for index in known}
    for number, region in enumerate(regions, start=1):
        members = frozenset(region.members)
        if members not in sets:
            short = _short(region.name, f"class{number}", region, taken)
            row = {"abbreviation": short, "name": region.name, "leaves": sorted(members)}
            classes.append(row | {"color": colour_of(len(known) + number)})
        sets.add(members)
    mirror = [list(pair) for pair in mirror_pairs([known[i] for i in sorted(known) if i])]
    return {"name": name, "background": 0, "leaves": leaves, "classes": classes, "mirror": mirror}


def mirror_pairs(named: Sequence[Named]) -> list[tuple[int, int]]:
    """Return the left and right index of structures whose names differ in nothing but the side."""
    words = {item.index: words_of(item.name) for item in named}
    by_words = {found: index for index, found in reversed(words.items())}
    pairs = set()
    for index, found in words.items():
        other = by_words.get(tuple(SWAPPED.get(word, word) for word in found), index)
        if by_words[found] == index != other and any(word in SIDES for word in found):
            pairs.add((index, other))
    # Of names with both sides, `left of right`, each is the left one of the other.
    return sorted(pair for pair in pairs if pair[::-1] not in pairs or pair[0] < pair[1])


def one_sided(named: Sequence[Named], pairs: Sequence[tuple[int, int]]) -> list[Named]:
    """Return the structures with a whole word for a side, left or right, that are in no pair."""
    paired = {index for pair in pairs for index in pair}
    whole = {"left", "right", "lh", "rh"}
    return [n for n in named if n.index not in paired and whole & set(words_of(n.name))]


def words_of(name: str) -> tuple[str, ...]:
    """Return the words of a structure's name in small letters, the side apart and in English."""
    apart = _JOINED.sub(lambda side: f" {side[0]} ", name[:1].lower() + name[1:])
    words = (word.casefold() for word in _WORDS.findall(apart))
    return tuple(_ENGLISH.get(word, word) for word in words)


def written(table: dict[str, Any], source: str) -> str:
    """Return the YAML of a table, a line for each row, with what it was made from."""
    lines = [
        f"# Made of {source}. Names, regions (classes) and mirror pairs (left, right) are to be"
    ]
    lines += ["# checked; a class is several leaves, by their indices, names or abbreviations."]
    for key, value in table.items():
        if isinstance(value, list):
            lines += [f"{key}:" if value else f"{key}: []", *(f"  - {_flow(row)}" for row in value)]
        else:
            lines.append(f"{key}: {_flow([value])[1:-1]}")
    return "\n".join(lines) + "\n"


def _flow(value: Any) -> str:
    options: dict[str, Any] = {"default_flow_style": True, "sort_keys": False, "width": 10**6}
    return str(yaml.safe_dump(value, allow_unicode=True, **options)).strip()


def _short(text: str, number: int | str, of: Named | Region, taken: set[str]) -> str:
    """Return what a structure is called on a command line, unlike all that is taken."""
    short = re.sub(r"\W+", "_", text).strip("_")
    if not short or short.isdecimal():
        short = f"label_{number}"
    if short.casefold() in taken and short.casefold() != of.name.casefold():
        short = f"{short}_{number}"
    taken.add(short.casefold())
    return short
