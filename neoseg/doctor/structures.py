"""Count the structures in each label file, and warn of structures missing in some of them."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from neoseg.cohort import Cohort, Problem, Source
from neoseg.cohort.scan import scan_id
from neoseg.findings.command_line import override
from neoseg.findings.markup import markdown_rows
from neoseg.findings.problems import shorten, warning
from neoseg.labels import Convention, LabelSet
from neoseg.store.examined import Examined


@dataclass(frozen=True)
class Structures:
    """Voxel counts `[scans, leaves]` in label files; a merged label counts for all its leaves.

    Voxels that may be any leaf count for none. `voxel_ml` is the volume of a voxel of each scan.
    """

    convention: Convention
    scans: tuple[str, ...]
    voxels: np.ndarray
    voxel_ml: np.ndarray
    _lacks: np.ndarray

    @classmethod
    def of(cls, cohort: Cohort, examined: Sequence[Examined]) -> Structures:
        """Count the structures in the labelled ones of the examined scans."""
        convention = cohort.convention
        space = convention.space
        labelled = [item for item in examined if item.voxels]
        voxels = np.zeros((len(labelled), space.num_leaves), np.int64)
        possible = np.zeros_like(voxels)
        for row, item in enumerate(labelled):
            meaning = item.scan.meaning(convention)
            for leaves, number in zip(meaning.sets, item.voxels, strict=True):
                possible[row, list(leaves)] += number
                voxels[row, list(leaves)] += 0 if leaves == space.everything else number
        ids = tuple(item.scan.id for item in labelled)
        sizes = [item.entry.geometry.canonical_spacing for item in labelled if item.entry]
        ml = np.array([math.prod(size) / 1000 for size in sizes])
        return cls(convention, ids, voxels, ml, possible == 0)

    def _names(self) -> list[tuple[int, str]]:
        """Return (leaf, abbreviation) of each leaf except the background."""
        space = self.convention.space
        leaves = enumerate(space.leaves)
        return [(place, leaf.abbreviation) for place, leaf in leaves if place != space.background]

    def to_dict(self) -> dict[str, Any]:
        """Return plain containers, for JSON, with a row of voxel counts for each scan."""
        leaves = [leaf for leaf, _ in self._names()]
        rows = zip(self.scans, self.voxels[:, leaves].tolist(), strict=True)
        return {"structures": [name for _, name in self._names()], "voxels": dict(rows)}

    def markdown(self) -> str:
        """Return a Markdown table with a row for each structure."""
        rows = []
        for leaf, name in self._names():
            counts = self.voxels[:, leaf]
            without = [scan for scan, n in zip(self.scans, counts, strict=True) if not n]
            median = f"{np.median(counts[counts > 0]):.0f}" if len(without) < len(counts) else ""
            shown = f"{len(counts) - len(without)} of {len(counts)}"
            rows.append((name, shown, median, shorten(without)))
        columns = ("structure", "scans that show it", "voxels there (median)", "scans without it")
        return markdown_rows(columns, rows)

    @property
    def shown(self) -> LabelSet:
        """The leaves of which some scan has a voxel."""
        return frozenset(np.flatnonzero(self.voxels.any(axis=0)).tolist())

    def not_drawn(
        self, source: Source, prefix: str = "", elsewhere: LabelSet = frozenset()
    ) -> list[Problem]:
        """Warn of structures that some scans of a plan lack and others show.

        Structures declared as not drawn, by the plan or the cohort, are not reported, and nor are
        scans without any structure that the user names as annotated in full.

        Args:
            source: the plan of the cohort.
            prefix: of the key that the message names, such as `++extra_cohorts.other.`.
            elsewhere: leaves that scans of other cohorts show.
        """
        space = self.convention.space
        background = frozenset([space.background])
        scans = {scan.id: scan for scan in source.cohort.scans}
        structures = [leaf for leaf, _ in self._names()]
        counts = zip(self.scans, self.voxels[:, structures], strict=True)
        empty = {scan for scan, numbers in counts if not numbers.any()}
        hidden: dict[str, LabelSet] = {}
        for item in source.assignments:
            scan = scans[scan_id(item.subject, item.session)]
            shown = source.protocols[item.protocol].apply(background)
            hidden[scan.id] = shown | scan.undrawn(self.convention)
            if scan.annotation is not None and item.stream == "full" and scan.id in empty:
                hidden[scan.id] = space.everything
        rows = [row for row, scan in enumerate(self.scans) if scan in hidden]
        groups: dict[tuple[str, ...], list[int]] = defaultdict(list)
        for leaf, _ in self._names():
            lacking = [self.scans[row] for row in rows if self._lacks[row, leaf]]
            # Structures that no scan of any cohort shows are reported elsewhere.
            if leaf in elsewhere or self.voxels[rows, leaf].any():
                groups[tuple(scan for scan in lacking if leaf not in hidden[scan])].append(leaf)
        return [
            warning(
                f"cohort '{source.cohort.name}'",
                f"{len(lacking)} of {len(rows)} scans have no voxel of "
                f"{shorten((space.leaves[leaf].abbreviation for leaf in leaves), 12)}, which "
                f"others show: {shorten(lacking)}",
                "the same structures in every scan",
                "what their files show in its place is taken for the truth; "
                f"{self._as_mask(leaves, lacking)}where it was not drawn and may be in the "
                "background, set "
                f"{override(f'{prefix}cohort.not_drawn', self._line(leaves, lacking))}"
                f"{self._as_surroundings(leaves)}{self._instead(leaves, lacking)}"
                f"{self._by_another_table(leaves, lacking)}",
                "structure-not-drawn",
            )
            for lacking, leaves in groups.items()
            if lacking
        ]

    def _as_mask(self, leaves: Sequence[int], lacking: Sequence[str]) -> str:
        """Return how to say that the integer of one structure stands for a whole in scans, or "".

        That may be so where they show nothing else, and it is larger than in any other scan.
        """
        space, meaning, rows = self.convention.space, self.convention, np.isin(self.scans, lacking)
        shown = [leaf for leaf, _ in self._names() if self.voxels[rows, leaf].any()]
        single, background = frozenset(shown), frozenset([space.background])
        if len(shown) != 1 or rows.all() or not {single, background} <= {*meaning.sets}:
            return ""
        volumes = self.voxels[:, shown[0]] * self.voxel_ml
        here, there = volumes[rows], volumes[~rows]
        if np.median(here) <= there.max():
            return ""
        value, zero = (meaning.values[meaning.sets.index(s)] for s in (single, background))
        wholes = [entry.abbreviation for entry in space.classes if {*leaves} <= entry.leaves]
        return (
            f"they show {space.plain_name(single)} alone, {np.median(here):.3g} ml of it and not "
            f"{np.median(there):.3g} as the others: if their {value} is a mask of something else, "
            "name them in annotation.file, with a protocol such as {describes: true, convention: "
            f"{{{zero}: {space.plain_name(background)}, {value}: {(wholes or ['NAME'])[0]}}}}}; "
        )

    def _as_surroundings(self, leaves: Sequence[int]) -> str:
        """Return how to say that a structure was drawn as the rest of its smallest class, or ""."""
        space, meaning = self.convention.space, self.convention
        for leaf in leaves:
            around = [e.leaves for e in space.classes if leaf in e.leaves and len(e.leaves) > 1]
            whole = min(around, key=len, default=frozenset({space.background}))
            rest = [
                value
                for value, single in zip(meaning.values, meaning.sets, strict=True)
                if single < whole and leaf not in single
            ]
            if rest and space.background not in whole:
                name = space.plain_name(whole)
                return (
                    f"; where {space.leaves[leaf].abbreviation} was drawn as the rest of {name}, "
                    "name those scans in annotation.file, with a protocol such as {describes: "
                    f"true, convention: {meaning.written(dict.fromkeys(rest, name))}}}"
                )
        return ""

    def _instead(self, leaves: Sequence[int], lacking: Sequence[str]) -> str:
        """Return how to say that scans have another structure's integer for one of theirs, or "".

        That may be so where only the scans that lack a structure show another one.
        """
        space, meaning, rows = self.convention.space, self.convention, {*lacking}
        for other, name in self._names():
            showing = {s for s, n in zip(self.scans, self.voxels[:, other], strict=True) if n}
            single = frozenset([other])
            alone = showing == rows and len(rows) < len(self.scans)
            if alone and single in meaning.sets and len(leaves) == 1:
                own, value = frozenset(leaves), meaning.values[meaning.sets.index(single)]
                swapped = {value: space.plain_name(own)}
                if own in meaning.sets:
                    swapped[meaning.values[meaning.sets.index(own)]] = space.plain_name(single)
                return (
                    f"; only these scans show {name}: if their {value} is "
                    f"{space.leaves[leaves[0]].abbreviation}, name them in annotation.file, with a "
                    f"protocol such as {{describes: true, convention: {meaning.written(swapped)}}}"
                )
        return ""

    def _by_another_table(self, leaves: Sequence[int], lacking: Sequence[str]) -> str:
        """Return how to say that scans have the integers of another table, or "".

        That may be so where a minority lacks several structures, those of the highest integers.
        """
        meaning = self.convention
        gone = [v for v, of in zip(meaning.values, meaning.sets, strict=True) if of <= {*leaves}]
        kept = {v: meaning.name(code) for code, v in enumerate(meaning.values) if v not in gone}
        few = 2 * len(lacking) < len(self.scans)
        if not few or len(gone) < 2 or max(kept, default=gone[0]) >= gone[0]:
            return ""
        listed = ", ".join(f"{value}: {name}" for value, name in kept.items())
        return (
            f"; {', '.join(map(str, gone))} are the highest integers: if these files follow "
            "another table, not_drawn keeps what they show under wrong names; name them in "
            "annotation.file, with a protocol that has the names of that table, such as "
            f"{{describes: true, convention: {{{listed}}}}}"
        )

    def of_part(self, source: Source, part: str) -> LabelSet:
        """Return the leaves of which some scan in a part of the split has a voxel."""
        ids = {scan.id for scan, _ in source.of_split(part)}
        rows = [row for row, scan in enumerate(self.scans) if scan in ids]
        return frozenset(np.flatnonzero(self.voxels[rows].any(axis=0)).tolist())

    def _line(self, leaves: Sequence[int], scans: Sequence[str]) -> str:
        ids = "all" if len(scans) == len(self.scans) else f"[{', '.join(scans)}]"
        names = (self.convention.space.plain_name(frozenset([leaf])) for leaf in leaves)
        return "{" + ", ".join(f"{name}: {ids}" for name in names) + "}"


def untested(counted: Iterable[tuple[Source, Structures]]) -> list[Problem]:
    """Warn of structures that training scans of some cohort show, and no test scan of any."""
    train, test = frozenset[int](), frozenset[int]()
    for source, structures in counted:
        space = source.cohort.convention.space
        train |= structures.of_part(source, "train")
        test |= structures.of_part(source, "test")
    missing = sorted(train - test) if test else []
    if not missing:
        return []
    return [
        warning(
            "the test",
            "no test scan shows "
            + shorten((space.leaves[leaf].abbreviation for leaf in missing), 12)
            + ", which training scans show",
            "each structure in a test scan",
            "it gets no score, or only counts as wrong where the network finds it; choose the "
            "parts by split=file split.file=TABLE, or draw others with another split.seed",
            "leaf-never-tested",
        )
    ]
