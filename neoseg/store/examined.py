"""What came of examining a scan."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import takewhile
from pathlib import Path
from typing import Any

import numpy as np

from neoseg.cohort import Cohort, Problem, Scan
from neoseg.cohort.label_tables import GUESSED
from neoseg.labels import Convention
from neoseg.store.entry import StoreEntry
from neoseg.store.fingerprint import mask_state
from neoseg.store.label_checks import check_content, check_described
from neoseg.store.nifti import DataError
from neoseg.store.reading import mask_problems


@dataclass(frozen=True)
class Examined:
    """What came of one scan: its entry, or the errors because of which it has none.

    Attributes:
        problems: errors or warnings, remembered from when the entry was built; those about what
            its labels tell are of now.
        voxels: number of voxels by stored code, of the whole file; empty without labels.
        digest: of the first image's voxels in canonical axes; "" where there is no entry.
        signature: of what that image shows; see `signature_of`.
        others: digests of the other images; empty for an entry of before they were kept.
    """

    scan: Scan
    entry: StoreEntry | None
    problems: tuple[Problem, ...] = ()
    voxels: tuple[int, ...] = ()
    digest: str = ""
    signature: str = ""
    others: tuple[str, ...] = ()

    @classmethod
    def of_entry(
        cls, entry: StoreEntry, record: Mapping[str, Any], convention: Convention
    ) -> Examined:
        """Tell what an entry's record says: what was found, and what its labels tell now.

        `convention` is the cohort's.
        """
        scan, voxels = entry.scan, tuple(record["voxels"])
        paths = [path for path in (*scan.images, scan.label, scan.mask) if path is not None]
        findings = [Problem.from_dict(raw) for raw in record["findings"]]
        unused = record["settings"]["foreground"] != "mask"
        if unused and record["mask"] != mask_state(scan.mask):  # it is another one since
            findings = [problem for problem in findings if problem.kind != "mask"]
            findings += mask_problems(scan, entry.geometry)
        # The cohort may have moved since.
        here = [replace(p, where=_now(p.where, paths)) for p in findings]
        if scan.label is not None:
            counts = np.array(voxels)
            here += check_content(scan, counts, convention)
            here += check_described(scan, counts, convention)
        if any(problem.severity == "error" for problem in here):
            return cls.failed(scan, DataError.of(here))
        others = tuple(record.get("others", ()))
        return cls(scan, entry, tuple(here), voxels, record["digest"], record["signature"], others)

    @property
    def images(self) -> tuple[tuple[str, Path], ...]:
        """Digest and path of each image."""
        there = (path for path in self.scan.images if path is not None)
        return tuple(zip(filter(None, (self.digest, *self.others)), there, strict=False))

    @classmethod
    def failed(cls, scan: Scan, error: DataError) -> Examined:
        """Tell why a scan has no entry."""
        problems = error.problems or (Problem(scan.id, str(error), kind="unreadable-file"),)
        own = (replace(p, scans=(scan.id,) if p.severity == "error" else ()) for p in problems)
        return cls(scan, None, tuple(own))

    @property
    def errors(self) -> tuple[Problem, ...]:
        """The findings that keep the scan from being used."""
        return tuple(problem for problem in self.problems if problem.severity == "error")


def guessed_meaning(cohort: Cohort, examined: Sequence[Examined]) -> list[Problem]:
    """Return the findings that the meaning of integers was guessed, with the voxels of each."""
    convention = cohort.convention
    common = (i.voxels for i in examined if i.voxels and i.scan.meaning(convention) is convention)
    voxels = map(sum, zip(*common, strict=True))
    shown = [
        f"{convention.values[code]} -> {convention.name(code)} ({number} voxels)"
        for code, number in enumerate(voxels)
        if number
    ]
    found = [problem for problem in cohort.problems if problem.kind == GUESSED]
    return [replace(p, found=f"{p.found}: {', '.join(shown) or 'no voxels'}") for p in found]


def entries_of(cohort: Cohort, examined: Sequence[Examined]) -> list[StoreEntry]:
    """Return the entries of scans of a cohort.

    Raises:
        DataError: scans without one, each with every problem that was found.
    """
    bad = [item for item in examined if item.entry is None]
    if bad:
        lines = [f"  {item.scan.id}: {DataError.of(item.errors)}" for item in bad]
        raise DataError(
            f"{len(bad)} of {len(examined)} scans of cohort '{cohort.name}' cannot be used:\n"
            + "\n".join(lines)
            + "\nrepair them, leave them out with cohort.exclude=[...], or set on_error=skip",
            [problem for item in bad for problem in item.errors],
        )
    return [item.entry for item in examined if item.entry is not None]


def _now(where: str, paths: Sequence[Path]) -> str:
    """Return which of some paths is the one that was called `where`: it ends most alike."""

    def alike(path: Path) -> int:
        pairs = zip(reversed(path.parts), reversed(Path(where).parts), strict=False)
        return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs))

    likeness = sorted((alike(path) for path in paths), reverse=True)
    if not likeness or not likeness[0] or likeness[0] in likeness[1:]:
        return where
    return str(max(paths, key=alike))
