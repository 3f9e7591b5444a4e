"""Conventions: the label sets that the integers in a data set's label files represent."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from neoseg.labels.space import LabelSet, LabelSpace
from neoseg.labels.table import LabelError

SMALLEST_VALUE, LARGEST_VALUE = -(2**31), 2**32 - 1
"""Range of the integers in label files: 32 bits, signed or unsigned."""

ROUNDING = 1e-3
"""Largest distance of a label from an integer; floats and scaled headers have rounding errors."""

Meaning = int | str | Iterable[int | str] | None


@dataclass(frozen=True)
class Convention:
    """The sorted integers of label files and the label set of each.

    The position of an integer in `values` is its *stored code*, which the prepared store contains
    regardless of the protocol that a run applies later.
    """

    space: LabelSpace
    values: tuple[int, ...]
    sets: tuple[LabelSet, ...]

    @classmethod
    def identity(cls, space: LabelSpace) -> Convention:
        """Return the convention of label files that contain the indices of the space's leaves."""
        return cls.from_mapping(space, {leaf.index: leaf.index for leaf in space.leaves})

    @classmethod
    def from_mapping(cls, space: LabelSpace, mapping: Mapping[int, Meaning]) -> Convention:
        """Parse `{integer: leaf, class, list of those, or null for "not annotated"}`.

        Raises:
            LabelError: unknown names, a key that is not an integer of 32 bits, an empty label set,
                no entries, or more than 256.
        """
        if not 1 <= len(mapping) <= 256:
            raise LabelError(f"a label convention needs 1 to 256 integers, found {len(mapping)}")
        entries: dict[int, LabelSet] = {}
        for value, meaning in mapping.items():
            is_integer = isinstance(value, int | np.integer)
            if not is_integer or not SMALLEST_VALUE <= value <= LARGEST_VALUE:
                raise LabelError(
                    f"label value {value!r} must be a whole number from {SMALLEST_VALUE} to "
                    f"{LARGEST_VALUE}"
                )
            entries[int(value)] = space.everything if meaning is None else space.label_set(meaning)
            if not entries[int(value)]:
                raise LabelError(
                    f"label value {value} maps to an empty label set; name its leaves, or write "
                    "null where it says nothing"
                )
        values = tuple(sorted(entries))
        return cls(space, values, tuple(entries[value] for value in values))

    def written(self, more: Mapping[int, str] | None = None) -> str:
        """Return the mapping as written on a command line, with the names of `more` values."""
        names = {value: self.name(number) for number, value in enumerate(self.values)}
        names |= more or {}
        return "{" + ", ".join(f"{value}: {names[value]}" for value in sorted(names)) + "}"

    def name(self, code: int) -> str:
        """Return the meaning of a stored code, as `from_mapping` reads it."""
        leaves = self.sets[code]
        return "null" if leaves == self.space.everything else self.space.plain_name(leaves)

    def encode(self, labels: np.ndarray, source: str) -> np.ndarray:
        """Convert a volume of file integers (any dtype) to uint8 stored codes of the same shape.

        Raises:
            LabelError: a value is further than `ROUNDING` from an integer, or not in the
                convention; the message names `source`.
        """
        if labels.dtype.kind == "f":
            rounded = np.rint(labels)
            bad = ~np.isclose(labels, rounded, rtol=0, atol=ROUNDING) | ~np.isfinite(labels)
            if bad.any():
                first = float(labels[bad].ravel()[0])
                raise LabelError(
                    f"{source} holds {first!r}, expected whole label numbers; it may be an image, "
                    "probabilities, or a label map resampled with interpolation"
                )
            labels = rounded
        labels = labels.astype(np.int64)
        values = np.array(self.values)
        codes = np.searchsorted(values[:-1], labels).astype(np.uint8)
        is_unknown = values[codes] != labels
        if is_unknown.any():
            unknown = np.unique(labels[is_unknown])
            listed = ", ".join(map(str, unknown[:8])) + (", …" if len(unknown) > 8 else "")
            raise LabelError(
                f"{source} holds label values outside the table '{self.space.name}': {listed} "
                f"({int(is_unknown.sum())} voxels); expected {_ranges(self.values)}. Correct the "
                "file or add the values to the cohort's `convention`"
            )
        return codes


def file_integers(values: Sequence[int]) -> np.ndarray:
    """Return integers >= 0 of a label file in the smallest data type that every program reads."""
    kinds = (np.uint8, np.uint16, np.int32)
    return np.array(values, next(kind for kind in kinds if max(values) <= np.iinfo(kind).max))


def unnamed(space: LabelSpace, sets: Iterable[LabelSet]) -> LabelSet:
    """Return the leaves, except the background, that no integer of a label file stands for.

    Such a file cannot say that a voxel is not that leaf. Integers for "not annotated" do not count.
    """
    named = (leaves for leaves in sets if leaves != space.everything)
    return space.everything.difference({space.background}, *named)


def with_background(
    space: LabelSpace, sets: Iterable[LabelSet], undrawn: LabelSet
) -> tuple[LabelSet, ...]:
    """Return label sets in which background may also be a leaf of `undrawn`."""
    return tuple(leaves | undrawn if space.background in leaves else leaves for leaves in sets)


def _ranges(values: tuple[int, ...]) -> str:
    """Return sorted integers in short form, as in "0-9, 12"."""
    spans: list[list[int]] = []
    for value in values:
        if spans and value == spans[-1][1] + 1:
            spans[-1][1] = value
        else:
            spans.append([value, value])
    return ", ".join(str(a) if a == b else f"{a}-{b}" for a, b in spans)
