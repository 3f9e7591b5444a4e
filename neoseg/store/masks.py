"""Masks of one structure each, read together and written as one label file of a scan."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from neoseg.files import write_volume
from neoseg.findings.problems import Problem
from neoseg.labels import LabelSet, LabelSpace
from neoseg.labels.masks import combine
from neoseg.store.checks import check_grid, one
from neoseg.store.damage import DataError
from neoseg.store.volume import Volume, read_volume


@dataclass(frozen=True)
class MaskedScan:
    """The masks of one scan, what each shows, and the label file to write."""

    id: str
    masks: tuple[tuple[Path, LabelSet], ...]
    space: LabelSpace
    target: Path


@dataclass(frozen=True)
class CombinedScan:
    """What a combined label file holds; without a file if there are `problems`.

    Attributes:
        integers: that occur in the file.
        undrawn: abbreviations of the leaves that no mask shows or excludes.
        contradictions: number of voxels by what masks say there against each other.
        problems: errors.
    """

    integers: tuple[int, ...] = ()
    undrawn: tuple[str, ...] = ()
    contradictions: Mapping[str, int] = field(default_factory=dict)
    problems: tuple[Problem, ...] = ()

    def plain(self) -> dict[str, Any]:
        """Return what the file holds as plain containers, for JSON."""
        return {
            "integers": list(self.integers),
            "undrawn": list(self.undrawn),
            "contradictions": dict(self.contradictions),
        }

    @classmethod
    def from_plain(cls, raw: Any) -> "CombinedScan":
        """Return what `plain` returned `raw` of; raises KeyError, TypeError or ValueError."""
        contradictions = {str(what): int(count) for what, count in raw["contradictions"].items()}
        return cls(
            tuple(map(int, raw["integers"])), tuple(map(str, raw["undrawn"])), contradictions
        )


def write_combined(scan: MaskedScan) -> CombinedScan:
    """Read the masks of a scan, one after the other, and write its label file.

    Masks hold 0 and one other value. The file is on their grid, in canonical orientation.
    """
    problems: list[Problem] = []
    first: tuple[Path, Volume] | None = None

    def read() -> Iterator[tuple[LabelSet, np.ndarray]]:
        nonlocal first
        for path, leaves in scan.masks:
            try:
                mask = read_volume(path, dtype=np.int64)
                first = first or (path, mask)
                reference, grid = first
                wrong = check_grid(
                    path, mask.data.shape, mask.affine, reference, grid.data.shape, grid.affine
                )
                inside = mask.data != 0
                wrong += _check_values(path, mask.data[inside])
            except DataError as error:
                wrong = list(error.problems) or one(path, str(error), "a mask", "", "not-nifti")
            problems.extend(problem for problem in wrong if problem.severity == "error")
            if not problems:  # else the rest is only checked
                yield leaves, inside
        if problems:
            raise DataError.of(problems)

    try:
        combined = combine(scan.space, read())
    except DataError as error:
        return CombinedScan(problems=tuple(replace(p, scans=(scan.id,)) for p in error.problems))
    assert first is not None
    write_volume(scan.target, combined.labels, first[1].affine)
    return CombinedScan(
        tuple(np.unique(combined.labels).tolist()),
        tuple(scan.space.leaves[leaf].abbreviation for leaf in sorted(combined.undrawn)),
        dict(combined.contradictions.most_common()),
    )


def _check_values(path: Path, inside: np.ndarray) -> list[Problem]:
    """Check that the values of a mask other than 0 are one."""
    low, high = (inside.min(), inside.max()) if inside.size else (1, 1)
    if low == high and low > 0:
        return []
    action = (
        "write a mask of what is inside: probabilities above .5, or one label of a label map; "
        "label maps with several structures need no combining (cohort.labels)"
    )
    return one(
        path, f"holds values from {low} to {high}", "0 and one other", action, "label-values"
    )
