"""Masks of one structure each, drawn or not, as one volume of label sets."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from neoseg.labels.convention import file_integers
from neoseg.labels.space import LabelSet, LabelSpace


@dataclass(frozen=True)
class Combined:
    """One label volume, and what could not be said in it.

    Attributes:
        labels: `[X, Y, Z]` integers of `integers_of`.
        undrawn: leaves that none of the masks shows or excludes: background may be one of them.
        contradictions: number of voxels by what masks say there against each other.
    """

    labels: np.ndarray
    undrawn: LabelSet
    contradictions: Counter[str]


def integers_of(space: LabelSpace) -> dict[LabelSet, int]:
    """Return the integer that stands for each class in combined files, and for "not annotated".

    Leaves keep their own; other classes and then "not annotated" follow on the largest.
    """
    own = [leaf.index for leaf in space.leaves]
    first = 1 + max(own)
    last = first + space.num_classes - space.num_leaves
    sets = (entry.leaves for entry in space.classes)
    return {space.everything: last} | dict(zip(sets, [*own, *range(first, last)], strict=True))


def combine(space: LabelSpace, masks: Iterable[tuple[LabelSet, np.ndarray]]) -> Combined:
    """Combine masks into one volume in which each voxel has the smallest class that is known.

    A voxel is one of the leaves of every mask that it is in, and none of those of the other masks.
    Several masks of one structure, such as the lobes of a lung, are its parts.
    In no mask, it is background (or what was not drawn). Where masks contradict each other, it is
    left open between what they say: in two that exclude each other, in a part but not in its whole,
    or in a whole but in none of its parts, although all have been drawn.

    Args:
        space: label space of the leaves.
        masks: leaves of each structure, and bool `[X, Y, Z]`, one after the other; at least one.

    Raises:
        ValueError: no masks, or masks of different shapes.
    """
    drawn: list[LabelSet] = []
    covers: list[tuple[int, ...]] = [()]  # the masks that each code is in
    codes: np.ndarray | None = None
    for number, (leaves, inside) in enumerate(masks):
        drawn.append(leaves)
        if codes is None:
            codes = np.zeros(inside.shape, np.int32)
        if inside.shape != codes.shape:
            raise ValueError(f"masks of shapes {codes.shape} and {inside.shape}")
        present, places = np.unique(codes[inside], return_inverse=True)
        codes[inside] = len(covers) + places
        covers += [(*covers[code], number) for code in present.tolist()]
    if codes is None:
        raise ValueError("no masks to combine")
    integers = integers_of(space)
    counts = np.bincount(codes.reshape(-1), minlength=len(covers))
    contradictions: Counter[str] = Counter()
    values = []
    for cover, count in zip(covers, counts.tolist(), strict=True):
        known, contradiction = _known(space, drawn, cover)
        if contradiction and count:
            contradictions[contradiction] += count
        values.append(integers[_smallest_class(space, known)])
    undrawn = space.everything.difference({space.background}, *drawn)
    return Combined(file_integers(values)[codes], undrawn, contradictions)


def _known(
    space: LabelSpace, drawn: Sequence[LabelSet], cover: tuple[int, ...]
) -> tuple[LabelSet, str]:
    """Return the leaves of voxels in just some of the masks, and how masks contradict, "" if not.

    Leaves that were not drawn are left to `undrawn` where a voxel may be background.
    """
    inside = space.everything.intersection(*(drawn[number] for number in cover))
    if not inside:
        names = sorted(space.plain_name(drawn[number]) for number in cover)
        return frozenset().union(*(drawn[number] for number in cover)), " and ".join(names)
    covering = {drawn[number] for number in cover}
    outside = [leaves for leaves in drawn if leaves not in covering]
    rest = inside.difference(*outside)
    if not cover and space.background in rest:
        return frozenset([space.background]), ""
    if rest:
        return rest, ""
    name = space.plain_name(inside)
    if whole := [leaves for leaves in outside if inside <= leaves]:
        return inside, f"{name} without {space.plain_name(whole[0])}"
    return inside, f"{name} in none of its parts"


def _smallest_class(space: LabelSpace, leaves: LabelSet) -> LabelSet:
    """Return the smallest class with all of these leaves; everything if there is none."""
    holding = (entry.leaves for entry in space.classes if leaves <= entry.leaves)
    return min(holding, key=len, default=space.everything)
