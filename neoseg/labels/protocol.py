"""Annotation protocols: how detailed an annotation is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
from pydantic import Field, ValidationError, model_validator

from neoseg.findings.settings import Section
from neoseg.labels.codebook import UNKNOWN, Codebook
from neoseg.labels.convention import Convention
from neoseg.labels.space import LabelSet, LabelSpace
from neoseg.labels.table import LabelError, Reference

PLANE_AXIS = {"sagittal": 0, "coronal": 1, "axial": 2}
"""Axis of a canonical (RAS+) array along which the slices of a plane are stacked."""

Stream = Literal["full", "partial", "unlabelled"]
STREAMS: tuple[Stream, ...] = get_args(Stream)
"""How much is known about a scan. Shares of a batch refer to these names, and a batch stores their
positions.
"""


class SliceShare(Section):
    """Restriction of an annotation to some slices of one plane; elsewhere nothing is known.

    Without `share`, the annotated slices are those in which the file contains a structure.
    """

    plane: Literal["sagittal", "coronal", "axial"] = "axial"
    share: float | None = Field(default=None, gt=0, le=1)
    spacing: Literal["even", "random"] = "even"


class ProtocolRow(Section):
    """A protocol as written in `conf/annotation/*.yaml`.

    By default a protocol simulates: it hides part of what the files contain. A protocol that
    `describes` states what they contain: a merged region has one value in them (of `convention`, or
    else of the cohort's), a missing structure is background, and the annotated slices are those
    that contain a structure.
    """

    name: str = Field(min_length=1)
    describes: bool = False
    convention: dict[int, Reference | tuple[Reference, ...] | None] | None = None
    merge: tuple[Reference | tuple[Reference, ...], ...] = ()
    missing: tuple[Reference, ...] = ()
    unlabelled: bool = False
    slices: SliceShare | None = None

    @model_validator(mode="after")
    def _require_consistent_keys(self) -> ProtocolRow:
        if self.convention is not None and not self.describes:
            raise ValueError("a convention says what files hold; set describes: true beside it")
        if self.slices is not None and self.describes != (self.slices.share is None):
            raise ValueError(
                "slices.share says on how many slices labels are kept, and those of files are the "
                "ones that show a structure: "
                + ("leave it out" if self.describes else "set it, or describes: true")
            )
        return self


@dataclass(frozen=True)
class Protocol:
    """Mapping from each leaf to the label set that such an annotation gives for it.

    `sets[k]` contains leaf k. Merged leaves share one set; a missing structure shares one with the
    background, because files contain background where it was not drawn. `describes` and
    `convention` are as in `ProtocolRow`.
    """

    name: str
    space: LabelSpace
    sets: tuple[LabelSet, ...]
    slices: SliceShare | None = None
    describes: bool = False
    convention: Convention | None = None

    @classmethod
    def full(cls, space: LabelSpace) -> Protocol:
        """Return the protocol under which every leaf is known."""
        return cls("full", space, tuple(frozenset([k]) for k in range(space.num_leaves)))

    @classmethod
    def unlabelled(cls, space: LabelSpace) -> Protocol:
        """Return the protocol under which nothing is known."""
        return cls("unlabelled", space, (space.everything,) * space.num_leaves)

    @classmethod
    def parse(cls, space: LabelSpace, raw: dict[str, Any]) -> Protocol:
        """Validate a protocol row and resolve its names in a space.

        Raises:
            LabelError: unknown keys or names, a merge of a single leaf, merges that overlap without
                one containing the other, or an unlabelled protocol that also hides structures.
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
            return cls(row.name, space, cls.unlabelled(space).sets, row.slices, row.describes)

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
            for other_name, other_leaves in merges[:number]:
                if leaves & other_leaves and not (leaves <= other_leaves or other_leaves <= leaves):
                    raise LabelError(
                        f"protocol '{row.name}': '{other_name}' and '{name}' overlap and neither "
                        "contains the other; merge their union or keep them disjoint"
                    )
            for leaf in leaves:
                sets[leaf] |= leaves
        convention = (
            None if row.convention is None else Convention.from_mapping(space, row.convention)
        )
        return cls(row.name, space, tuple(sets), row.slices, row.describes, convention)

    def apply(self, leaves: LabelSet) -> LabelSet:
        """Return what remains known of a label set under this protocol."""
        return frozenset().union(*(self.sets[leaf] for leaf in leaves))

    @property
    def stream(self) -> Stream:
        """How much is known about a scan with this annotation."""
        if set(self.sets) == {self.space.everything}:
            return "unlabelled"
        return "full" if self.name == "full" or self._describes_all else "partial"

    @property
    def _describes_all(self) -> bool:
        """Whether files of this protocol have every leaf, as with other integers than the cohort's.

        Those of the cohort's integers have what they have; see `neoseg.cohort.streams`.
        """
        own = self.sets if self.convention is None else self.convention.sets
        told = {leaf for leaves in own if len(leaves) == 1 for leaf in leaves}
        hides = self.slices is not None or any(len(leaves) > 1 for leaves in self.sets)
        return self.describes and not hides and len(told) == self.space.num_leaves

    def denies(self, leaves: LabelSet) -> bool:
        """Return whether files that this protocol describes cannot contain a label set."""
        has_background = self.space.background in leaves
        return self.describes and not has_background and self.apply(leaves) != leaves

    @property
    def slice_axis(self) -> int:
        """Axis of a canonical volume along which slices are annotated or not."""
        return 0 if self.slices is None else PLANE_AXIS[self.slices.plane]

    def annotated_slices(self, length: int, seed: Sequence[int]) -> np.ndarray | None:
        """Return bool `[length]`: the annotated slices, or None if all are.

        At least one slice is annotated. `seed` makes the choice of random slices a function of the
        scan. None is also returned if the annotated slices depend on the volume; see `slices_of`.
        """
        if self.slices is None or self.slices.share is None:
            return None
        count = max(1, round(self.slices.share * length))
        chosen = np.zeros(length, dtype=bool)
        if self.slices.spacing == "even":
            chosen[np.floor((np.arange(count) + 0.5) * length / count).astype(int)] = True
        else:
            order = np.random.default_rng(list(seed)).permutation(length)
            chosen[order[:count]] = True
        return chosen

    def slices_of(
        self, codes: np.ndarray, codebook: Codebook, seed: Sequence[int]
    ) -> np.ndarray | None:
        """Return the annotated slices of a volume `[X, Y, Z]` of codes, before any are hidden.

        The result is that of `annotated_slices` or, without `share`, the slices with a structure.
        """
        if self.slices is None or self.slices.share is not None:
            return self.annotated_slices(codes.shape[self.slice_axis], seed)
        is_structure = ~codebook.rows[:, self.space.background]
        annotated: np.ndarray = np.moveaxis(is_structure[codes], self.slice_axis, 0).any(
            axis=(1, 2)
        )
        return annotated


def hide_slices(codes: np.ndarray, annotated: np.ndarray | None, axis: int) -> None:
    """Set `codes` (uint8 `[X, Y, Z]`) to unknown, in place, in slices without annotation.

    `annotated` is bool, along `axis`; None if all slices are annotated.
    """
    if annotated is not None:
        np.moveaxis(codes, axis, 0)[~annotated] = UNKNOWN
