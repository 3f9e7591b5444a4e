"""Draft a label table, to be edited, from the names that another source gives to integers."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import yaml

from neoseg.findings.command_line import literal
from neoseg.labels.colours import colour_of
from neoseg.labels.table import HEX_COLOUR

BACKGROUND = "BG"

SIDES = {"left": "right", "lh": "rh", "lt": "rt", "l": "r"}
SWAPPED = SIDES | {right: left for left, right in SIDES.items()}
"""Words for a side, mapped to those for the other side."""

_TRANSLATIONS = {
    "left": "links linke linker linkes gauche izquierdo izquierda esquerdo esquerda sinistro "
    "sinistra sinister sinistrum",
    "right": "rechts rechte rechter rechtes droit droite derecho derecha direito direita destro "
    "destra dexter dextra dextrum",
}
"""Words for the sides in other languages."""

_ENGLISH = {word: side for side, words in _TRANSLATIONS.items() for word in words.split()}
_WORDS = re.compile(r"[^\W_]+")
_JOINED = re.compile(
    r"(?<![^\W_])(left|right)(?=[A-Z0-9])|(?<=[a-z0-9])(Left|Right)(?![^\W_])"
    r"|(?<=[a-z])([LR])(?![^\W_])"
)
"""A side written together with its structure: `leftThalamus`, `ThalamusLeft`, `ThalL`."""


@dataclass(frozen=True)
class Named:
    """Name of an integer in label files; an unknown abbreviation or colour is ""."""

    index: int
    name: str
    abbreviation: str = ""
    color: str = ""


@dataclass(frozen=True)
class Region:
    """A name for several integers of label files together, which may have an integer of its own."""

    name: str
    members: tuple[int, ...]
    abbreviation: str = ""
    index: int | None = None


def draft(name: str, named: Iterable[Named], regions: Iterable[Region] = ()) -> dict[str, Any]:
    """Return a label table as plain containers: leaves, regions as classes, guessed mirror pairs.

    The background is 0, which is added if it has no name. Unknown abbreviations are the names, with
    characters replaced that a command line would not accept. Regions of a single integer, or of the
    same integers as an earlier region, are left out, since they do not add a class.
    """
    structures = {item.index: item for item in named}
    structures.setdefault(0, Named(0, "Background"))
    regions = list(regions)
    taken = {item.name.casefold() for item in [*structures.values()]} | {
        region.name.casefold() for region in regions
    }
    leaves = []
    for index, item in sorted(structures.items()):
        text = item.abbreviation or (BACKGROUND if index == 0 else item.name)
        color = item.color if re.fullmatch(HEX_COLOUR, item.color) else colour_of(index)
        row = {
            "index": index,
            "name": item.name,
            "abbreviation": _abbreviate(text, index, item, taken),
        }
        leaves.append(row | {"color": color})
    classes = []
    sets = {frozenset([index]) for index in structures}
    for number, region in enumerate(regions, start=1):
        members = frozenset(region.members)
        if members not in sets:
            text = region.abbreviation or region.name
            short = _abbreviate(text, f"class{number}", region, taken)
            row = {"abbreviation": short, "name": region.name, "leaves": sorted(members)}
            classes.append(row | {"color": colour_of(len(structures) + number)})
        sets.add(members)
    mirror = [list(pair) for pair in mirror_pairs([structures[i] for i in sorted(structures) if i])]
    return {"name": name, "background": 0, "leaves": leaves, "classes": classes, "mirror": mirror}


def mirror_pairs(named: Sequence[Named]) -> list[tuple[int, int]]:
    """Return the left and right indices of structures whose names differ only in the side."""
    words = {item.index: words_of(item.name) for item in named}
    by_words = {item_words: index for index, item_words in reversed(words.items())}
    pairs = set()
    for index, item_words in words.items():
        other = by_words.get(tuple(SWAPPED.get(word, word) for word in item_words), index)
        if by_words[item_words] == index != other and any(word in SIDES for word in item_words):
            pairs.add((index, other))
    # If names contain both sides (`left of right`), each is the left one of the other: keep one.
    return sorted(pair for pair in pairs if pair[::-1] not in pairs or pair[0] < pair[1])


def one_sided(named: Sequence[Named], pairs: Sequence[tuple[int, int]]) -> list[Named]:
    """Return the structures that are in no pair although left or right is a word of their name."""
    paired = {index for pair in pairs for index in pair}
    side_words = {"left", "right", "lh", "rh"}
    return [n for n in named if n.index not in paired and side_words & set(words_of(n.name))]


def words_of(name: str) -> tuple[str, ...]:
    """Return the lower-case words of a structure's name, the side as an English word of its own."""
    separated = _JOINED.sub(lambda side: f" {side[0]} ", name[:1].lower() + name[1:])
    words = (word.casefold() for word in _WORDS.findall(separated))
    return tuple(_ENGLISH.get(word, word) for word in words)


def written(table: dict[str, Any], source: str) -> str:
    """Return a table as YAML, one line per row, with a comment that names its source."""
    lines = [
        f"# Made of {source}. Names, regions (classes) and mirror pairs (left, right) are to be"
    ]
    lines += ["# checked; a class is several leaves, by their indices, names or abbreviations."]
    for key, value in literal(table).items():
        if isinstance(value, list):
            lines += [f"{key}:" if value else f"{key}: []", *(f"  - {_flow(row)}" for row in value)]
        else:
            lines.append(f"{key}: {_flow([value])[1:-1]}")
    return "\n".join(lines) + "\n"


def _flow(value: Any) -> str:
    """Return a value as YAML on one line."""
    options: dict[str, Any] = {"default_flow_style": True, "sort_keys": False, "width": 10**6}
    return str(yaml.safe_dump(value, allow_unicode=True, **options)).strip()


def _abbreviate(text: str, number: int | str, of: Named | Region, taken: set[str]) -> str:
    """Return a unique abbreviation that a command line accepts, and add it to `taken`."""
    short = re.sub(r"\W+", "_", text).strip("_")
    if not short or short.isdecimal():
        short = f"label_{number}"
    if short.casefold() in taken and short.casefold() != of.name.casefold():
        short = f"{short}_{number}"
    taken.add(short.casefold())
    return short
