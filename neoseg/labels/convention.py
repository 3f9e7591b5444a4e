"""Conventions: what the integers of a data set's label files mean as label sets."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from neoseg.labels.space import LabelSet, LabelSpace
from neoseg.labels.table import LabelError

SMALLEST_VALUE, LARGEST_VALUE = -32768, 65535
"""Label files hold at most 16-bit numbers here; every known table has far fewer."""

ROUNDING = 1e-3
"""How far a label may lie from a whole number. Floats and scaled headers are off by rounding."""

Meaning = int | str | Iterable[int | str] | None


@dataclass(frozen=True)
class Convention:
    """Sorted integers of a label file and the label set of each.

    The position of an integer in `values` is its *stored code*: what the prepared store holds,
    whichever protocol a run applies later.
    """

    space: LabelSpace
    values: tuple[int, ...]
    sets: tuple[LabelSet, ...]

    @classmethod
    def identity(cls, space: LabelSpace) -> Convention:
        """Label files that hold the indices of the space's own leaves."""
        return cls.from_mapping(space, {leaf.index: leaf.index for leaf in space.leaves})

    @classmethod
    def from_mapping(cls, space: LabelSpace, mapping: Mapping[int, Meaning]) -> Convention:
        """Read `{integer: leaf, class, list of them, or null for "not annotated"}`.

        Raises:
            LabelError: unknown names, an integer that is not whole or not of 16 bits, no entries,
                or more than 256 of them.
        """
        if not 1 <= len(mapping) <= 256:
            raise LabelError(f"a label convention needs 1 to 256 integers, found {len(mapping)}")
        entries: dict[int, LabelSet] = {}
        for value, meaning in mapping.items():
            whole = isinstance(value, int | np.integer)
            if not whole or not SMALLEST_VALUE <= value <= LARGEST_VALUE:
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

    @cached_property
    def _table(self) -> np.ndarray:
        # One place more at each end, for whatever lies beyond.
        table = np.full(self.values[-1] - self.values[0] + 3, -1, dtype=np.int16)
        table[np.array(self.values) - self.values[0] + 1] = np.arange(len(self.values))
        return table

    def written(self, more: Iterable[int] = ()) -> str:
        """Return the mapping as a command line has it, with `more` values that say nothing."""
        names = {value: self.name(number) for number, value in enumerate(self.values)}
        names |= dict.fromkeys(more, "null")
        return "{" + ", ".join(f"{value}: {names[value]}" for value in sorted(names)) + "}"

    def name(self, code: int) -> str:
        """Return what a stored code means, in the words that `from_mapping` reads."""
        leaves = self.sets[code]
        return "null" if leaves == self.space.everything else self.space.plain_name(leaves)

    def encode(self, labels: np.ndarray, source: str) -> np.ndarray:
        """Turn a volume of file integers (any dtype) into uint8 stored codes of the same shape.

        Raises:
            LabelError: naming `source` where values are further than `ROUNDING` from whole
                numbers, or not of the convention.
        """
        if labels.dtype.kind == "f":
            whole = np.rint(labels)
            bad = ~np.isclose(labels, whole, rtol=0, atol=ROUNDING) | ~np.isfinite(labels)
            if bad.any():
                first = float(labels[bad].ravel()[0])
                raise LabelError(
                    f"{source} holds {first!r}, expected whole label numbers; it may be an image, "
                    "probabilities, or a label map resampled with interpolation"
                )
            labels = whole
        labels = labels.astype(np.int64)
        table = self._table
        found: np.ndarray = table[np.clip(labels - self.values[0] + 1, 0, len(table) - 1)]
        if (found < 0).any():
            odd = np.unique(labels[found < 0])
            shown = ", ".join(map(str, odd[:8])) + (", …" if len(odd) > 8 else "")
            raise LabelError(
                f"{source} holds label values outside the table '{self.space.name}': {shown} "
                f"({int((found < 0).sum())} voxels); expected {_ranges(self.values)}. Correct the "
                "file or add the values to the cohort's `convention`"
            )
        return found.astype(np.uint8)


def _ranges(values: tuple[int, ...]) -> str:
    """Write sorted integers shortly, as in "0-9, 12"."""
    spans: list[list[int]] = []
    for value in values:
        if spans and value == spans[-1][1] + 1:
            spans[-1][1] = value
        else:
            spans.append([value, value])
    return ", ".join(str(a) if a == b else f"{a}-{b}" for a, b in spans)
