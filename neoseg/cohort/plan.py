"""The cohorts of a run: who is in which split, who is annotated how, and what labels then mean."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path

import numpy as np

from neoseg.cohort.annotation import Assignment
from neoseg.cohort.scan import Cohort, Scan
from neoseg.cohort.split import SPLITS, Split
from neoseg.findings.problems import CohortError, Problem, shorten
from neoseg.labels import Codebook, LabelError, LabelSet, LabelSpace, Protocol

COHORTS = "cohorts"
"""Folder of a run in which the files about further cohorts lie, by their names."""


@dataclass(frozen=True)
class Source:
    """One cohort of a run.

    Attributes:
        cohort: its scans and what the integers of its label files mean.
        split: which subject is for training, validation and test.
        assignments: how each scan that takes part is annotated.
        protocols: by the names that the assignments use.
        weight: its share of the items of a stream, relative to the other cohorts' weights; None
            is the number of its scans in the stream, so that every scan counts alike.
        draw: number of the draw of who is annotated how, which random slices follow.
    """

    cohort: Cohort
    split: Split
    assignments: tuple[Assignment, ...]
    protocols: Mapping[str, Protocol]
    weight: float | None = None
    draw: int = 0

    @property
    def label_sets(self) -> set[LabelSet]:
        """Everything that the annotation of a scan can tell about a voxel."""
        if any(scan.annotation is not None for scan in self.cohort.scans):
            pairs = chain.from_iterable(map(self.of_split, SPLITS))
            return set().union(*(self.told(scan, item.protocol) for scan, item in pairs))
        known = {scan.sets(self.cohort.convention) for scan in self.cohort.scans}
        sets = set(self.cohort.convention.sets).union(*known)
        return {protocol.apply(s) for protocol in self.protocols.values() for s in sets}

    def lookup(self, scan: Scan, protocol: str, codebook: Codebook) -> np.ndarray:
        """Return uint8 `[256]` that maps a scan's stored codes to what a protocol tells of them."""
        return codebook.lookup(self.told(scan, protocol))

    def told(self, scan: Scan, protocol: str) -> list[LabelSet]:
        """Return what a protocol tells where a scan's file has each of its values."""
        known = self.protocols[protocol]
        return [known.apply(s) for s in scan.sets(self.cohort.convention)]

    def known(self, scan: Scan, item: Assignment) -> str:
        """Say which structures an annotation tells from all others.

        The background is named where it alone is not told. Where no structure is, those are named
        that are told as one.
        """
        space = self.cohort.convention.space
        sets = [] if scan.label is None else self.told(scan, item.protocol)
        alone = frozenset().union(*(s for s in sets if len(s) == 1)) - scan.not_drawn
        every = [leaf for leaf in range(space.num_leaves) if leaf != space.background]
        names = [space.leaves[leaf].abbreviation for leaf in every if leaf in alone]
        others = [space.leaves[leaf].abbreviation for leaf in every if leaf not in alone]
        if not others:
            return "all" if space.background in alone else "all, where the background is not told"
        if not names:
            merged = {s - scan.not_drawn for s in sets if 1 < len(s) < space.num_leaves}
            wholes = [entry.abbreviation for entry in space.classes if entry.leaves in merged]
            return f"{shorten(wholes)} as one" if wholes else "none"
        return f"all but {shorten(others)}" if len(others) <= len(names) else shorten(names)

    def of_split(self, name: str) -> list[tuple[Scan, Assignment]]:
        """Return the scans of "train", "val" or "test" that the plan uses and that are there."""
        scans = {(scan.subject, scan.session): scan for scan in self.cohort.scans}
        return [
            (scans[item.subject, item.session], item)
            for item in self.assignments
            if item.split == name and (item.subject, item.session) in scans
        ]


@dataclass(frozen=True)
class Plan:
    """The cohorts of a run in one label space, and the codebook of all that they can tell.

    The first cohort is the one that a run of a single cohort would have; the others follow by
    name, so that their order in a configuration does not matter.
    """

    sources: tuple[Source, ...]
    codebook: Codebook

    @classmethod
    def of(cls, sources: Sequence[Source]) -> Plan:
        """Collect the label sets of every (convention, protocol) pair that can occur.

        Raises:
            CohortError: a name that two cohorts have.
            LabelError: label sets that do not fit into a byte.
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

    @classmethod
    def of_cohort(
        cls, cohort: Cohort, assignments: Sequence[Assignment], protocols: Mapping[str, Protocol]
    ) -> Plan:
        """Return one cohort with its plan, from which the split follows."""
        parts = {name: {a.subject for a in assignments if a.split == name} for name in SPLITS}
        split = Split(*(tuple(sorted(parts[name])) for name in SPLITS))
        return cls.of([Source(cohort, split, tuple(assignments), protocols)])

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
        """Those of all cohorts."""
        return tuple(chain.from_iterable(source.assignments for source in self.sources))

    def of_split(self, name: str) -> list[tuple[Scan, Assignment]]:
        """Return the scans of "train", "val" or "test" that the plan uses, of all cohorts."""
        return [pair for source in self.sources for pair in source.of_split(name)]

    @property
    def known(self) -> list[str]:
        """What `Source.known` says of each of the assignments."""
        found = []
        for source in self.sources:
            scans = {(scan.subject, scan.session): scan for scan in source.cohort.scans}
            found += [source.known(scans[a.subject, a.session], a) for a in source.assignments]
        return found

    def keeping(self, wanted: Callable[[Assignment], bool]) -> Plan:
        """Leave out the scans whose assignments are not wanted; the codebook stays."""
        sources = (
            replace(source, assignments=tuple(filter(wanted, source.assignments)))
            for source in self.sources
        )
        return replace(self, sources=tuple(sources))

    def scan_name(self, source: Source, scan: Scan) -> str:
        """Return the id of a scan, after the name of its cohort where that is not the first."""
        first = source.cohort.name == self.sources[0].cohort.name
        return scan.id if first else f"{source.cohort.name}/{scan.id}"

    def slice_seed(self, source: Source, scan: Scan) -> tuple[int, int]:
        """Return what random slices of a scan are drawn with."""
        return source.draw, zlib.crc32(self.scan_name(source, scan).encode())

    def folder(self, root: Path, source: Source) -> Path:
        """Return where files about the scans of a cohort lie: the first one's in `root` itself."""
        name = source.cohort.name
        return root if name == self.sources[0].cohort.name else cohort_folder(root, name)


def cohort_folder(root: Path, name: str) -> Path:
    """Return where below `root` files about a cohort lie that is not the first of its run."""
    return root / COHORTS / name


def _codebook(sources: Sequence[Source]) -> Codebook:
    space = sources[0].cohort.convention.space
    known = [source.label_sets for source in sources]
    try:
        return Codebook.build(space, chain.from_iterable(known))
    except LabelError as error:
        if len(sources) == 1:
            raise
        counts = (f"'{s.cohort.name}' {len(t)}" for s, t in zip(sources, known, strict=True))
        raise LabelError(f"{error} (the cohorts tell: {', '.join(counts)})") from None
