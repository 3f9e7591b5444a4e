"""The label space: leaves, classes over them, and how a left-right flip permutes both."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from difflib import get_close_matches
from functools import cached_property

import numpy as np

from neoseg.labels.table import ClassRow, LabelError, LabelTable, Leaf

_PLAIN_NAME = re.compile(r"(?!(?:null|true|false|nan|inf)$)[A-Za-z]\w*", re.ASCII | re.IGNORECASE)

MAX_DEPTH = 100
"""Largest nesting depth of classes; real tables have three levels."""

LabelSet = frozenset[int]
"""Positions of the leaves that a voxel may be: `{7}` is certain, all leaves mean "not annotated".
"""


def table_of_leaves(sets: Iterable[LabelSet], leaves: int) -> np.ndarray:
    """Return bool `[S, K]`: which of K leaves are in each of S label sets."""
    rows = [[leaf in members for leaf in range(leaves)] for members in sets]
    return np.array(rows, dtype=bool).reshape(-1, leaves)


@dataclass(frozen=True)
class LabelClass:
    """A named set of leaves. The first K classes of a space are its leaves, in order."""

    name: str
    abbreviation: str
    leaves: LabelSet
    color: str


@dataclass(frozen=True)
class LabelSpace:
    """K leaves and C >= K classes over them.

    Positions (0..K-1, 0..C-1) are used throughout the package; the indices of label files appear
    only where files are read and written.
    """

    name: str
    leaves: tuple[Leaf, ...]
    classes: tuple[LabelClass, ...]
    background: int
    mirror: tuple[int, ...]
    _lookup: dict[str, LabelSet] = field(repr=False, compare=False)

    @property
    def num_leaves(self) -> int:
        """Number of leaves K."""
        return len(self.leaves)

    @property
    def num_classes(self) -> int:
        """Number of classes C, including the leaves."""
        return len(self.classes)

    @property
    def everything(self) -> LabelSet:
        """The label set of a voxel about which nothing is known."""
        return frozenset(range(self.num_leaves))

    @cached_property
    def class_leaves(self) -> np.ndarray:
        """Bool `[C, K]`: leaf k belongs to class c."""
        return table_of_leaves((entry.leaves for entry in self.classes), self.num_leaves)

    @cached_property
    def class_mirror(self) -> tuple[int, ...]:
        """Position of the class that each class becomes when left and right are swapped."""
        by_leaves = {entry.leaves: number for number, entry in enumerate(self.classes)}
        return tuple(by_leaves[self.mirrored(entry.leaves)] for entry in self.classes)

    def mirrored(self, leaves: LabelSet) -> LabelSet:
        """Return the label set after a left-right flip."""
        return frozenset(self.mirror[leaf] for leaf in leaves)

    def label_set(self, names: int | str | Iterable[int | str]) -> LabelSet:
        """Return the union of leaves and classes given by index, name or abbreviation.

        Raises:
            LabelError: a name that the table does not have, with the nearest ones that it has.
        """
        if isinstance(names, int | str):
            names = [names]
        leaves: set[int] = set()
        for name in names:
            key = str(name).casefold()
            if key not in self._lookup:
                near = get_close_matches(key, self._lookup, n=3, cutoff=0.5)
                hint = f"; did you mean {' or '.join(repr(n) for n in near)}?" if near else ""
                raise LabelError(f"label table '{self.name}' has no leaf or class '{name}'{hint}")
            leaves |= self._lookup[key]
        return frozenset(leaves)

    def plain_name(self, leaves: LabelSet) -> str:
        """Return a label set as written on a command line, readable by `label_set`."""
        abbreviations = (entry.abbreviation for entry in self.classes if entry.leaves == leaves)
        abbreviation = next((name for name in abbreviations if _PLAIN_NAME.fullmatch(name)), None)
        indices = sorted(self.leaves[leaf].index for leaf in leaves)
        return abbreviation or (str(indices[0]) if len(indices) == 1 else str(indices))

    def class_position(self, name: int | str) -> int:
        """Return the position of a class (or leaf) among the C classes; raises `LabelError`."""
        leaves = self.label_set(name)
        return next(n for n, entry in enumerate(self.classes) if entry.leaves == leaves)

    @classmethod
    def from_table(cls, table: LabelTable) -> LabelSpace:
        """Resolve names, nested classes and mirror pairs.

        Raises:
            LabelError: unknown or circular members, two classes with the same leaves, a class whose
                mirror image is not a class, or a background that is not a leaf.
        """
        lookup: dict[str, LabelSet] = {}
        for position, row in enumerate(table.leaves):
            lookup |= dict.fromkeys(row.spellings, frozenset([position]))
        _resolve_classes(table, lookup)

        rows: list[Leaf | ClassRow] = [*table.leaves, *table.classes]
        classes = [
            LabelClass(row.name, row.abbreviation, lookup[row.name.casefold()], row.color)
            for row in rows
        ]
        name_of: dict[LabelSet, str] = {}
        for entry in classes:
            if entry.leaves in name_of:
                raise LabelError(
                    f"label table '{table.name}': '{entry.name}' and '{name_of[entry.leaves]}' are "
                    "the same set of leaves; keep one of them"
                )
            name_of[entry.leaves] = entry.name

        position_of = {row.index: position for position, row in enumerate(table.leaves)}
        mirror = list(range(len(table.leaves)))
        for left, right in table.mirror:
            a, b = position_of[left], position_of[right]
            mirror[a], mirror[b] = b, a
        for entry in classes:
            if frozenset(mirror[leaf] for leaf in entry.leaves) not in name_of:
                raise LabelError(
                    f"label table '{table.name}': the mirror image of '{entry.name}' is not a "
                    "class; add the class for the other side or correct the mirror pairs"
                )
        background = lookup.get(str(table.background).casefold(), frozenset())
        if len(background) != 1:
            raise LabelError(
                f"label table '{table.name}': background '{table.background}' is not a leaf"
            )
        return cls(
            name=table.name,
            leaves=table.leaves,
            classes=tuple(classes),
            background=next(iter(background)),
            mirror=tuple(mirror),
            _lookup=lookup,
        )


def _resolve_classes(table: LabelTable, lookup: dict[str, LabelSet]) -> None:
    """Add the leaves of each class to `lookup`, resolving members that are classes first."""
    by_key: dict[str, ClassRow] = {}
    for row in table.classes:
        by_key[row.name.casefold()] = by_key[row.abbreviation.casefold()] = row

    def leaves_of(key: str, path: tuple[str, ...]) -> LabelSet:
        if key in lookup:
            return lookup[key]
        row = by_key.get(key)
        if row is None:
            near = get_close_matches(key, [*lookup, *by_key], n=2, cutoff=0.5)
            raise LabelError(
                f"label table '{table.name}': class '{path[-1]}' has a member '{key}' that is "
                f"neither a leaf nor a class (near: {', '.join(near) or 'none'})"
            )
        if len(path) > MAX_DEPTH:
            raise LabelError(
                f"label table '{table.name}': class '{row.name}' lies in {len(path)} others, "
                f"expected at most {MAX_DEPTH}"
            )
        if row.name in path:
            raise LabelError(
                f"label table '{table.name}': class '{row.name}' contains itself through "
                + " > ".join(path)
            )
        members = frozenset().union(
            *(leaves_of(str(member).casefold(), (*path, row.name)) for member in row.leaves)
        )
        lookup[row.name.casefold()] = lookup[row.abbreviation.casefold()] = members
        return members

    for row in table.classes:
        leaves_of(row.name.casefold(), ())
