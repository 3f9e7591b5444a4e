"""What the classes of one label table are in another one, by their names."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from neoseg.labels.space import LabelSet, LabelSpace

Told = Mapping[str, int | str | tuple[int | str, ...]]
"""By class of the new table: what of the old one it is, where the names do not say so."""


@dataclass(frozen=True)
class Carried:
    """Where a class of a new table starts from.

    Attributes:
        kind: "same": a class of the old table; "split": a part of one; "merged": several leaves
            together; "new": nothing that the old table knows.
        old: positions of old classes, one unless it is merged.
        share: parts into which that class is split.
    """

    kind: Literal["same", "split", "merged", "new"]
    old: tuple[int, ...] = ()
    share: int = 1

    def words(self, old: LabelSpace) -> str:
        """Say it, as in "part of HIP"."""
        names = ", ".join(old.classes[place].abbreviation for place in self.old)
        before = {"same": "", "split": "part of ", "merged": "union of ", "new": "drawn"}
        return before[self.kind] + names


def carried(old: LabelSpace, new: LabelSpace, told: Told | None = None) -> tuple[Carried, ...]:
    """Return for each of the classes of `new` (leaves first) where in `old` it comes from.

    A class is the one of its abbreviation or name, whatever the case, and whatever the integers in
    files; backgrounds are the same. Else it is that of the same leaves, or the union of the leaves
    that it has in `old`; else a part of the smallest class that contains it and is in `old`.

    Raises:
        LabelError: names in `told` that the tables do not have.
    """
    given = {new.class_position(name): old.label_set(names) for name, names in (told or {}).items()}
    by_leaves = {entry.leaves: place for place, entry in enumerate(old.classes)}
    by_name: dict[str, int] = {}
    for place, entry in enumerate(old.classes):
        by_name.setdefault(entry.name.casefold(), place)
    by_name |= {entry.abbreviation.casefold(): place for place, entry in enumerate(old.classes)}

    def union(leaves: LabelSet) -> Carried:
        if leaves in by_leaves:
            return Carried("same", (by_leaves[leaves],))
        return Carried("merged", tuple(sorted(leaves)))

    known: dict[int, Carried] = {}
    for place, entry in enumerate(new.classes):
        if place in given:
            known[place] = union(given[place])
        elif place == new.background:
            known[place] = Carried("same", (old.background,))
        else:
            keys = (entry.abbreviation.casefold(), entry.name.casefold())
            found = next((by_name[key] for key in keys if key in by_name), None)
            if found is not None and found != old.background:
                known[place] = Carried("same", (found,))

    def leaves_of(leaf: int) -> LabelSet:
        return frozenset().union(*(old.classes[place].leaves for place in known[leaf].old))

    for place, entry in enumerate(new.classes):
        if place not in known and place >= new.num_leaves and all(k in known for k in entry.leaves):
            known[place] = union(frozenset().union(*(leaves_of(k) for k in entry.leaves)))

    def start(place: int) -> Carried:
        if place in known:
            return known[place]
        leaves = new.classes[place].leaves
        around = [n for n, entry in enumerate(new.classes) if n in known and leaves < entry.leaves]
        if not around:
            return Carried("new")
        parent = min(around, key=lambda n: len(new.classes[n].leaves))
        parts = [leaf for leaf in new.classes[parent].leaves if leaf not in known]
        if known[parent].kind != "same":
            return known[parent]
        return Carried("split", known[parent].old, len(parts))

    return tuple(start(place) for place in range(new.num_classes))


def translated(old: LabelSpace, new: LabelSpace, told: Told | None = None) -> tuple[LabelSet, ...]:
    """Return for each leaf of `old` what a voxel of it may be in `new`.

    Leaves of which `old` knows nothing lie in its background, where `told` does not say otherwise:
    a network could not have called them anything else. A leaf that `new` does not have is empty.
    """
    found: list[set[int]] = [set() for _ in old.leaves]
    for leaf, start in enumerate(carried(old, new, told)[: new.num_leaves]):
        places = start.old or (old.background,)
        for there in frozenset().union(*(old.classes[place].leaves for place in places)):
            found[there].add(leaf)
    return tuple(map(frozenset, found))
