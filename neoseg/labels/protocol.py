"""Annotation protocols: how deep an annotation goes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
from pydantic import Field, ValidationError

from neoseg.findings.settings import Section
from neoseg.labels.codebook import UNKNOWN
from neoseg.labels.space import LabelSet, LabelSpace
from neoseg.labels.table import LabelError

PLANE_AXIS = {"sagittal": 0, "coronal": 1, "axial": 2}
"""Axis of a canonical (RAS+) array across which the slices of a plane are stacked."""

Stream = Literal["full", "partial", "unlabelled"]
STREAMS: tuple[Stream, ...] = get_args(Stream)
"""How much is known of a scan, as shares of a batch tell it; a batch stores positions in these."""


class SliceShare(Section):
    """The annotation exists on a share of the slices of one plane; elsewhere nothing is known."""

    plane: Literal["sagittal", "coronal", "axial"] = "axial"
    share: float = Field(gt=0, le=1)
    spacing: Literal["even", "random"] = "even"


class ProtocolRow(Section):
    """What a user writes in `conf/annotation/*.yaml`."""

    name: str = Field(min_length=1)
    merge: tuple[int | str | tuple[int | str, ...], ...] = ()
    missing: tuple[int | str, ...] = ()
    unlabelled: bool = False
    slices: SliceShare | None = None


@dataclass(frozen=True)
class Protocol:
    """Maps each leaf to the label set that an annotation of this depth tells about it.

    `sets[k]` holds leaf k. Merged leaves share one set; a missing structure shares one set with
    the background, because where it was not drawn the file shows background.
    """

    name: str
    space: LabelSpace
    sets: tuple[LabelSet, ...]
    slices: SliceShare | None = None

    @classmethod
    def full(cls, space: LabelSpace) -> Protocol:
        """Every leaf is known."""
        return cls("full", space, tuple(frozenset([k]) for k in range(space.num_leaves)))

    @classmethod
    def unlabelled(cls, space: LabelSpace) -> Protocol:
        """Nothing is known."""
        return cls("unlabelled", space, (space.everything,) * space.num_leaves)

    @classmethod
    def parse(cls, space: LabelSpace, raw: dict[str, Any]) -> Protocol:
        """Resolve a protocol row against a space.

        Raises:
            LabelError: unknown keys or names, a merge of a single leaf, merges that overlap
                without one containing the other.
        """
        try:
            row = ProtocolRow.model_validate(raw)
        except ValidationError as error:
            lines = [f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors()]
            raise LabelError("annotation protocol is not valid: " + "; ".join(lines)) from None
        if row.unlabelled:
            if row.merge or row.missing:
                raise LabelError(
                    f"protocol '{row.name}' is unlabelled and also merges or drops structures; "
                    "keep one of the two"
                )
            return cls(row.name, space, cls.unlabelled(space).sets, row.slices)

        merges = [(str(item), space.label_set(item)) for item in row.merge]
        if row.missing:
            hidden = space.label_set(row.missing) | {space.background}
            merges.append(("missing " + ", ".join(map(str, row.missing)), hidden))
        sets = [frozenset([k]) for k in range(space.num_leaves)]
        for number, (name, leaves) in enumerate(merges):
            if len(leaves) < 2:
                raise LabelError(
                    f"protocol '{row.name}' merges '{name}', which is a single leaf; nothing would "
                    "be hidden: name a super-class or several leaves"
                )
            for other, others in merges[:number]:
                if leaves & others and not (leaves <= others or others <= leaves):
                    raise LabelError(
                        f"protocol '{row.name}': '{other}' and '{name}' overlap and neither "
                        "contains the other; merge their union or keep them disjoint"
                    )
            for leaf in leaves:
                sets[leaf] |= leaves
        return cls(row.name, space, tuple(sets), row.slices)

    def apply(self, leaves: LabelSet) -> LabelSet:
        """Return what remains known of a label set."""
        return frozenset().union(*(self.sets[leaf] for leaf in leaves))

    @property
    def slice_axis(self) -> int:
        """Axis of a canonical volume across which slices are annotated or not."""
        return 0 if self.slices is None else PLANE_AXIS[self.slices.plane]

    def annotated_slices(self, length: int, seed: Sequence[int]) -> np.ndarray | None:
        """Bool `[length]`: the slices that carry the annotation, or None where all do.

        At least one slice is annotated. `seed` makes the choice of random slices a function of
        the scan.
        """
        if self.slices is None:
            return None
        count = max(1, round(self.slices.share * length))
        chosen = np.zeros(length, dtype=bool)
        if self.slices.spacing == "even":
            chosen[np.floor((np.arange(count) + 0.5) * length / count).astype(int)] = True
        else:
            order = np.random.default_rng(list(seed)).permutation(length)
            chosen[order[:count]] = True
        return chosen


def hide_slices(codes: np.ndarray, annotated: np.ndarray | None, axis: int) -> None:
    """Set `codes` (uint8 `[X, Y, Z]`) to unknown, in place, where a slice has no annotation.

    `annotated` is bool, along `axis`; None where all slices have one.
    """
    if annotated is not None:
        np.moveaxis(codes, axis, 0)[~annotated] = UNKNOWN
