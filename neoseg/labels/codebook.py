"""The codebook: the distinct label sets of a training cohort, one byte per voxel."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from neoseg.labels.space import LabelSet, LabelSpace, table_of_leaves
from neoseg.labels.table import LabelError

UNKNOWN = 0
"""The code of a voxel about which nothing is known (all leaves), in every codebook."""

MAX_CODES = 256
"""Largest number of label sets in a codebook, as codes are bytes."""

_FEW = 3
"""Largest number of leaves that are named one by one."""


@dataclass(frozen=True)
class Codebook:
    """At most 256 label sets over one space; a target volume holds their row numbers.

    Row 0 is "unknown", rows 1..K are the single leaves in order, the merged sets follow. The
    codebook is closed under left-right mirroring, so that a flipped target stays expressible.
    """

    space: LabelSpace
    sets: tuple[LabelSet, ...]

    @property
    def plain_sets(self) -> tuple[tuple[int, ...], ...]:
        """The rows as tuples of leaf positions, for a checkpoint."""
        return tuple(tuple(sorted(leaves)) for leaves in self.sets)

    @classmethod
    def build(cls, space: LabelSpace, sets: Iterable[LabelSet] = ()) -> Codebook:
        """Collect `sets`, their mirror images, the single leaves and "unknown".

        The order of rows depends only on the sets, not on the order in which they are given.

        Raises:
            LabelError: an empty label set, or more than 256 distinct ones.
        """
        all_sets = set(sets)
        if frozenset() in all_sets:
            raise LabelError("a label set is empty: a voxel must be allowed at least one leaf")
        singles = [frozenset([leaf]) for leaf in range(space.num_leaves)]
        all_sets |= {space.mirrored(leaves) for leaves in all_sets}
        merged = sorted(all_sets - set(singles) - {space.everything}, key=sorted)
        rows = (space.everything, *singles, *merged)
        if len(rows) > MAX_CODES:
            raise LabelError(
                f"the cohort needs {len(rows)} distinct label sets, at most {MAX_CODES} fit in a "
                "byte; use fewer protocols or merge fewer structures"
            )
        return cls(space, rows)

    @property
    def size(self) -> int:
        """Number of rows R."""
        return len(self.sets)

    @cached_property
    def rows(self) -> np.ndarray:
        """Bool `[R, K]`: the leaves that each code allows."""
        return table_of_leaves(self.sets, self.space.num_leaves)

    @cached_property
    def membership(self) -> np.ndarray:
        """Int8 `[R, C]`: 1 if the label set is inside the class, 0 if they are disjoint, -1
        (unknown) otherwise.
        """
        inside = self.rows.astype(np.int32) @ self.space.class_leaves.astype(np.int32).T
        size = self.rows.sum(axis=1, keepdims=True)
        return np.where(inside == size, 1, np.where(inside == 0, 0, -1)).astype(np.int8)

    @cached_property
    def mirror(self) -> np.ndarray:
        """Uint8 `[R]`: the code of each row after a left-right flip."""
        return np.array([self.code(self.space.mirrored(s)) for s in self.sets], dtype=np.uint8)

    @cached_property
    def names(self) -> tuple[str, ...]:
        """Name of each row: "unknown", the class that has its leaves, or the leaves ("L or R").

        Those of many leaves are named by what they are not ("not liver") or counted ("one of 9").
        """
        return ("unknown", *map(self._name, self.sets[1:]))

    def _name(self, leaves: LabelSet) -> str:
        if name := self._short_name(leaves):
            return name
        others = self._short_name(self.space.everything - leaves)
        return f"not {others}" if others else f"one of {len(leaves)}"

    def _short_name(self, leaves: LabelSet) -> str | None:
        """Return the name of a class, or of a few leaves."""
        classes = {entry.leaves: entry.abbreviation for entry in self.space.classes}
        names = (self.space.leaves[leaf].abbreviation for leaf in sorted(leaves))
        few = " or ".join(names) if len(leaves) <= _FEW else None
        return classes.get(leaves, few)

    @cached_property
    def _codes(self) -> dict[LabelSet, int]:
        return {leaves: code for code, leaves in enumerate(self.sets)}

    def code(self, leaves: LabelSet) -> int:
        """Return the row of a label set; raises `LabelError` if the codebook lacks it."""
        try:
            return self._codes[leaves]
        except KeyError:
            names = ", ".join(self.space.leaves[leaf].abbreviation for leaf in sorted(leaves))
            raise LabelError(f"the codebook has no label set {{{names}}}") from None

    def lookup(self, sets: Sequence[LabelSet]) -> np.ndarray:
        """Return uint8 `[256]` that maps i to the code of `sets[i]`, and further positions to 0."""
        table = np.full(MAX_CODES, UNKNOWN, dtype=np.uint8)
        table[: len(sets)] = [self.code(leaves) for leaves in sets]
        return table
