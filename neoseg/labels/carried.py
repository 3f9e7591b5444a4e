"""Match the classes of one label table to those of another, by their names."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from neoseg.labels.space import LabelSet, LabelSpace

Told = Mapping[str, int | str | tuple[int | str, ...]]
"""Explicit matches, by class of the new table: the leaves and classes of the old one."""


@dataclass(frozen=True)
class Carried:
    """Source of a class of a new table in an old one.

    Attributes:
        kind: "same": a class of the old table; "split": a part of one; "merged": the union of
            several leaves; "new": nothing in the old table.
        old: positions of the old classes; more than one only if merged, none if new.
        share: number of parts into which the old class is split.
    """

    kind: Literal["same", "split", "merged", "new"]
    old: tuple[int, ...] = ()
    share: int = 1

    def words(self, old: LabelSpace) -> str:
        """Return the source as text, as in "part of HIP"."""
        names = ", ".join(old.classes[position].abbreviation for position in self.old)
        prefix = {"same": "", "split": "part of ", "merged": "union of ", "new": "drawn"}
        return prefix[self.kind] + names


def carried(old: LabelSpace, new: LabelSpace, told: Told | None = None) -> tuple[Carried, ...]:
    """Return the source in `old` of each class of `new`, leaves first.

    A class matches the old class with its abbreviation or name, ignoring case and the integers in
    files; backgrounds always match. Otherwise a super-class is the old class with the same leaves,
    or the union of its leaves in `old`. Otherwise a class is a part of the smallest class that
    contains it and has a source.

    Raises:
        LabelError: names in `told` that the tables do not have.
    """
    overrides = {
        new.class_position(name): old.label_set(names) for name, names in (told or {}).items()
    }
    by_leaves = {entry.leaves: position for position, entry in enumerate(old.classes)}
    by_name: dict[str, int] = {}
    for position, entry in enumerate(old.classes):
        by_name.setdefault(entry.name.casefold(), position)
    by_name |= {
        entry.abbreviation.casefold(): position for position, entry in enumerate(old.classes)
    }

    def union(leaves: LabelSet) -> Carried:
        if leaves in by_leaves:
            return Carried("same", (by_leaves[leaves],))
        return Carried("merged", tuple(sorted(leaves)))

    sources: dict[int, Carried] = {}
    for position, entry in enumerate(new.classes):
        if position in overrides:
            sources[position] = union(overrides[position])
        elif position == new.background:
            sources[position] = Carried("same", (old.background,))
        else:
            keys = (entry.abbreviation.casefold(), entry.name.casefold())
            match = next((by_name[key] for key in keys if key in by_name), None)
            if match is not None and match != old.background:
                sources[position] = Carried("same", (match,))

    def leaves_of(leaf: int) -> LabelSet:
        return frozenset().union(*(old.classes[position].leaves for position in sources[leaf].old))

    for position, entry in enumerate(new.classes):
        if (
            position not in sources
            and position >= new.num_leaves
            and all(k in sources for k in entry.leaves)
        ):
            sources[position] = union(frozenset().union(*(leaves_of(k) for k in entry.leaves)))

    def start(position: int) -> Carried:
        if position in sources:
            return sources[position]
        leaves = new.classes[position].leaves
        containing = [
            n for n, entry in enumerate(new.classes) if n in sources and leaves < entry.leaves
        ]
        if not containing:
            return Carried("new")
        smallest = min(containing, key=lambda n: len(new.classes[n].leaves))
        unmatched = [leaf for leaf in new.classes[smallest].leaves if leaf not in sources]
        if sources[smallest].kind != "same":
            return sources[smallest]
        return Carried("split", sources[smallest].old, len(unmatched))

    return tuple(start(position) for position in range(new.num_classes))


def translated(old: LabelSpace, new: LabelSpace, told: Told | None = None) -> tuple[LabelSet, ...]:
    """Return, for each leaf of `old`, the leaves of `new` that its voxels may be.

    Leaves that `old` lacks are in its background, unless `told` says otherwise: a network could not
    have predicted anything else there. Leaves of `old` that `new` lacks get an empty set.
    """
    targets: list[set[int]] = [set() for _ in old.leaves]
    for leaf, start in enumerate(carried(old, new, told)[: new.num_leaves]):
        positions = start.old or (old.background,)
        for old_leaf in frozenset().union(
            *(old.classes[position].leaves for position in positions)
        ):
            targets[old_leaf].add(leaf)
    return tuple(map(frozenset, targets))
