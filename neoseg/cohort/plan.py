"""The cohorts of a run with their splits, annotation plans and label sets."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import chain
from pathlib import Path

import numpy as np

from neoseg.cohort.annotation import FULL, Assignment
from neoseg.cohort.scan import Cohort, Scan
from neoseg.cohort.split import SPLITS, Split
from neoseg.findings.problems import CohortError, Problem, shorten
from neoseg.labels import Codebook, LabelError, LabelSet, LabelSpace, Protocol

COHORTS = "cohorts"
"""Subfolder of a run for files about extra cohorts, by name."""


@dataclass(frozen=True)
class Source:
    """One cohort of a run.

    Attributes:
        cohort: the scans and the meaning of the integers of their label files.
        split: the subjects of training, validation and test.
        assignments: the annotation of each scan that is used.
        protocols: the protocols by the names in the assignments.
        weight: share of the items of a stream, relative to the weights of the other cohorts; None
            is the number of its scans in the stream, which weights all scans equally.
        draw: number of the draw that assigns annotations; also seeds random slices.
    """

    cohort: Cohort
    split: Split
    assignments: tuple[Assignment, ...]
    protocols: Mapping[str, Protocol]
    weight: float | None = None
    draw: int = 0

    @property
    def label_sets(self) -> set[LabelSet]:
        """All label sets that a voxel can have under the annotation of some scan."""
        if any(scan.annotation is not None for scan in self.cohort.scans):
            pairs = chain.from_iterable(map(self.of_split, SPLITS))
            return set().union(*(self.told(scan, item.protocol) for scan, item in pairs))
        meaning = self.cohort.convention
        scans = {(scan.not_drawn, scan.meaning(meaning).sets): scan for scan in self.cohort.scans}
        return set().union(
            *(self.told(scan, name) for scan in scans.values() for name in self.protocols)
        )

    def lookup(self, scan: Scan, protocol: str, codebook: Codebook) -> np.ndarray:
        """Return a table, uint8 `[256]`, from stored codes to codebook rows under a protocol."""
        return codebook.lookup(self.told(scan, protocol))

    def told(self, scan: Scan, protocol: str) -> tuple[LabelSet, ...]:
        """Return the label set under a protocol of each value in a scan's label file."""
        return scan.sets(self.cohort.convention, self.protocols[protocol])

    @cached_property
    def told_apart(self) -> LabelSet:
        """The leaves that have an integer of their own in the label file of some scan."""
        meaning = self.cohort.convention
        labelled = [scan for scan in self.cohort.scans if scan.label is not None]
        kinds = {(s.not_drawn, s.described, s.meaning(meaning).sets): s for s in labelled}
        sets = chain.from_iterable(self.told(scan, FULL) for scan in kinds.values())
        return frozenset[int]().union(*(leaves for leaves in sets if len(leaves) == 1))

    def known(self, scan: Scan, item: Assignment) -> str:
        """Describe which structures an annotation separates from all others.

        The background is mentioned if it alone is not separated. If no structure is, the merged
        super-classes are named.
        """
        space, undrawn = self.cohort.convention.space, scan.undrawn(self.cohort.convention)
        sets = () if scan.label is None else self.told(scan, item.protocol)
        single = frozenset().union(*(s for s in sets if len(s) == 1)) - undrawn
        foreground = [leaf for leaf in range(space.num_leaves) if leaf != space.background]
        names = [space.leaves[leaf].abbreviation for leaf in foreground if leaf in single]
        hidden = [space.leaves[leaf].abbreviation for leaf in foreground if leaf not in single]
        if not hidden:
            return "all" if space.background in single else "all, where the background is not told"
        if not names:
            merged = {s - undrawn for s in sets if 1 < len(s) < space.num_leaves}
            wholes = [entry.abbreviation for entry in space.classes if entry.leaves in merged]
            return f"{shorten(wholes)} as one" if wholes else "none"
        return f"all but {shorten(hidden)}" if len(hidden) <= len(names) else shorten(names)

    def of_split(self, name: str) -> list[tuple[Scan, Assignment]]:
        """Return the existing scans of "train", "val" or "test" that the plan uses."""
        scans = {(scan.subject, scan.session): scan for scan in self.cohort.scans}
        return [
            (scans[item.subject, item.session], item)
            for item in self.assignments
            if item.split == name and (item.subject, item.session) in scans
        ]


@dataclass(frozen=True)
class Plan:
    """The cohorts of a run in one label space, and the codebook of all their label sets.

    The first is the main cohort of the run; extra cohorts follow by name, so that their order in
    the configuration does not matter.
    """

    sources: tuple[Source, ...]
    codebook: Codebook

    @classmethod
    def of(cls, sources: Sequence[Source]) -> Plan:
        """Collect the label sets of every (convention, protocol) pair that can occur.

        Raises:
            CohortError: two cohorts have the same name.
            LabelError: there are too many label sets for a byte.
        """
        first, *others = sources
        ordered = (first, *sorted(others, key=lambda source: source.cohort.name))
        names = [source.cohort.name for source in ordered]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            problem = Problem(
                "cohort.name",
                f"{', '.join(twice)} is the name of two cohorts",
                "another name for each, by which tables and the store tell them apart",
                "rename the entry in extra_cohorts, or set cohort.name",
            )
            raise CohortError("the cohorts of a run cannot be told apart:", [problem])
        return cls(ordered, _codebook(ordered))

    @property
    def space(self) -> LabelSpace:
        """The label space that all cohorts share."""
        return self.codebook.space

    @property
    def modalities(self) -> tuple[str, ...]:
        """Names of the images of every scan, in order."""
        return self.sources[0].cohort.modalities

    @property
    def assignments(self) -> tuple[Assignment, ...]:
        """The assignments of all cohorts."""
        return tuple(chain.from_iterable(source.assignments for source in self.sources))

    def of_split(self, name: str) -> list[tuple[Scan, Assignment]]:
        """Return the scans of "train", "val" or "test" that the plan uses, of all cohorts."""
        return [pair for source in self.sources for pair in source.of_split(name)]

    @property
    def known(self) -> list[str]:
        """The description by `Source.known` of each assignment."""
        descriptions = []
        for source in self.sources:
            scans = {(scan.subject, scan.session): scan for scan in source.cohort.scans}
            descriptions += [
                source.known(scans[a.subject, a.session], a) for a in source.assignments
            ]
        return descriptions

    def keeping(self, wanted: Callable[[Assignment], bool]) -> Plan:
        """Return the plan with only the wanted assignments; the codebook is unchanged."""
        sources = (
            replace(source, assignments=tuple(filter(wanted, source.assignments)))
            for source in self.sources
        )
        return replace(self, sources=tuple(sources))

    def scan_name(self, source: Source, scan: Scan) -> str:
        """Return the id of a scan, prefixed with its cohort's name unless that is the first."""
        first = source.cohort.name == self.sources[0].cohort.name
        return scan.id if first else f"{source.cohort.name}/{scan.id}"

    def slice_seed(self, source: Source, scan: Scan) -> tuple[int, int]:
        """Return the seed of the random slices of a scan."""
        return source.draw, zlib.crc32(self.scan_name(source, scan).encode())

    def folder(self, root: Path, source: Source) -> Path:
        """Return the folder for files about a cohort; `root` itself for the first cohort."""
        name = source.cohort.name
        return root if name == self.sources[0].cohort.name else cohort_folder(root, name)


def cohort_folder(root: Path, name: str) -> Path:
    """Return the folder below `root` for files about an extra cohort."""
    return root / COHORTS / name


def _codebook(sources: Sequence[Source]) -> Codebook:
    space = sources[0].cohort.convention.space
    label_sets = [source.label_sets for source in sources]
    try:
        return Codebook.build(space, chain.from_iterable(label_sets))
    except LabelError as error:
        if len(sources) == 1:
            raise
        counts = (f"'{s.cohort.name}' {len(t)}" for s, t in zip(sources, label_sets, strict=True))
        raise LabelError(f"{error} (the cohorts tell: {', '.join(counts)})") from None
