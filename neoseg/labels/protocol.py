"""Annotation protocols: how deep an annotation goes."""

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
from neoseg.labels.table import LabelError

PLANE_AXIS = {"sagittal": 0, "coronal": 1, "axial": 2}
"""Axis of a canonical (RAS+) array across which the slices of a plane are stacked."""

Stream = Literal["full", "partial", "unlabelled"]
STREAMS: tuple[Stream, ...] = get_args(Stream)
"""How much is known of a scan, as shares of a batch tell it; a batch stores positions in these."""


class SliceShare(Section):
    """The annotation exists on some slices of one plane; elsewhere nothing is known.

    Without `share` it is on those in which the file shows a structure.
    """

    plane: Literal["sagittal", "coronal", "axial"] = "axial"
    share: float | None = Field(default=None, gt=0, le=1)
    spacing: Literal["even", "random"] = "even"


class ProtocolRow(Section):
    """What a user writes in `conf/annotation/*.yaml`.

    By default a protocol simulates: it hides what the files tell. One that `describes` says what
    they tell: a merged region has one value in them (of `convention`, else of the cohort's),
    a structure that is missing is background, the annotated slices are those that show something.
    """

    name: str = Field(min_length=1)
    describes: bool = False
    convention: dict[int, int | str | tuple[int | str, ...] | None] | None = None
    merge: tuple[int | str | tuple[int | str, ...], ...] = ()
    missing: tuple[int | str, ...] = ()
    unlabelled: bool = False
    slices: SliceShare | None = None

    @model_validator(mode="after")
    def _is_about_files_or_hides(self) -> ProtocolRow:
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
    """Maps each leaf to the label set that an annotation of this depth tells about it.

    `sets[k]` holds leaf k. Merged leaves share one set; a missing structure shares one set with
    the background, because where it was not drawn the file shows background. Whether it
    `describes` files and their `convention` are as in `ProtocolRow`.
    """

    name: str
    space: LabelSpace
    sets: tuple[LabelSet, ...]
    slices: SliceShare | None = None
    describes: bool = False
    convention: Convention | None = None

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
            for other, others in merges[:number]:
                if leaves & others and not (leaves <= others or others <= leaves):
                    raise LabelError(
                        f"protocol '{row.name}': '{other}' and '{name}' overlap and neither "
                        "contains the other; merge their union or keep them disjoint"
                    )
            for leaf in leaves:
                sets[leaf] |= leaves
        own = None if row.convention is None else Convention.from_mapping(space, row.convention)
        return cls(row.name, space, tuple(sets), row.slices, row.describes, own)

    def apply(self, leaves: LabelSet) -> LabelSet:
        """Return what remains known of a label set."""
        return frozenset().union(*(self.sets[leaf] for leaf in leaves))

    @property
    def stream(self) -> Stream:
        """How much is known of a scan so annotated."""
        if set(self.sets) == {self.space.everything}:
            return "unlabelled"
        return "full" if self.name == "full" else "partial"

    def denies(self, leaves: LabelSet) -> bool:
        """Tell whether files that this describes cannot say so of a voxel."""
        clear = self.space.background in leaves
        return self.describes and not clear and self.apply(leaves) != leaves

    @property
    def slice_axis(self) -> int:
        """Axis of a canonical volume across which slices are annotated or not."""
        return 0 if self.slices is None else PLANE_AXIS[self.slices.plane]

    def annotated_slices(self, length: int, seed: Sequence[int]) -> np.ndarray | None:
        """Bool `[length]`: the slices that carry the annotation, or None where all do.

        At least one slice is annotated. `seed` makes the choice of random slices a function of
        the scan.
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
        """Return `annotated_slices` of a volume `[X, Y, Z]` of codes before any is hidden."""
        if self.slices is None or self.slices.share is not None:
            return self.annotated_slices(codes.shape[self.slice_axis], seed)
        shows = ~codebook.rows[:, self.space.background]
        found: np.ndarray = np.moveaxis(shows[codes], self.slice_axis, 0).any(axis=(1, 2))
        return found


def hide_slices(codes: np.ndarray, annotated: np.ndarray | None, axis: int) -> None:
    """Set `codes` (uint8 `[X, Y, Z]`) to unknown, in place, where a slice has no annotation.

    `annotated` is bool, along `axis`; None where all slices have one.
    """
    if annotated is not None:
        np.moveaxis(codes, axis, 0)[~annotated] = UNKNOWN
