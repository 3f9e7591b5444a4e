"""Results of examining a scan."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import takewhile
from pathlib import Path
from typing import Any

import numpy as np

from neoseg.cohort import Cohort, Problem, Scan
from neoseg.cohort.label_tables import GUESSED
from neoseg.findings.problems import warning
from neoseg.labels import Convention
from neoseg.store.ct import SOFT_TISSUE, is_called_ct
from neoseg.store.damage import DataError
from neoseg.store.entry import StoreEntry
from neoseg.store.fingerprint import mask_state
from neoseg.store.label_checks import check_content, check_described
from neoseg.store.label_extent import check_extent
from neoseg.store.reading import mask_problems, read_scan
from neoseg.store.settings import PrepareSettings
from neoseg.store.voxel_size import check_slices


@dataclass(frozen=True)
class Examined:
    """Result of examining one scan: its entry, or the errors that prevented one.

    Attributes:
        problems: errors and warnings recorded when the entry was built; those about the content of
            the labels are checked anew.
        voxels: number of voxels by stored code in the whole file; empty without labels.
        digest: of the first image's voxels in canonical axes; "" if there is no entry.
        signature: of the content of that image; see `signature_of`.
        others: digests of the other images; empty for entries written before these were recorded.
        hounsfield: whether the first image is in Hounsfield units; False in entries written before
            this was recorded.
    """

    scan: Scan
    entry: StoreEntry | None
    problems: tuple[Problem, ...] = ()
    voxels: tuple[int, ...] = ()
    digest: str = ""
    signature: str = ""
    others: tuple[str, ...] = ()
    hounsfield: bool = False

    @classmethod
    def of_entry(
        cls, entry: StoreEntry, record: Mapping[str, Any], convention: Convention
    ) -> Examined:
        """Return the result stored in an entry's record, with the labels checked anew.

        `convention` is the cohort's.
        """
        scan, voxels = entry.scan, tuple(record["voxels"])
        paths = [path for path in (*scan.images, scan.label, scan.mask) if path is not None]
        findings = [Problem.from_dict(raw) for raw in record["findings"]]
        unused = record["settings"]["foreground"] != "mask"
        if unused and record["mask"] != mask_state(scan.mask):  # the mask was replaced since
            findings = [problem for problem in findings if problem.kind != "mask"]
            findings += mask_problems(scan, entry.geometry)
        if scan.described is not None and scan.described.slices is not None:  # an earlier entry's
            findings = [problem for problem in findings if problem.kind != "sparse-planes"]
        # The cohort may have been moved since.
        now = [replace(p, where=_current_path(p.where, paths)) for p in findings]
        if scan.label is not None:
            counts = np.array(voxels)
            now += check_content(scan, counts, convention)
            now += check_described(scan, counts, convention)
            if "planes" in record:  # earlier entries have the findings themselves
                settings = PrepareSettings(**record["settings"])
                now += check_extent(scan, record, settings, scan.meaning(convention))
            now += check_slices(scan, entry.geometry.canonical_spacing, entry.geometry.spacing)
        if any(problem.severity == "error" for problem in now):
            return cls.failed(scan, DataError.of(now))
        others = tuple(record.get("others", ()))
        shown = record["digest"], record["signature"], others, bool(record.get("hounsfield"))
        return cls(scan, entry, tuple(now), voxels, *shown)

    @property
    def images(self) -> tuple[tuple[str, Path], ...]:
        """Digest and path of each image."""
        paths = (path for path in self.scan.images if path is not None)
        return tuple(zip(filter(None, (self.digest, *self.others)), paths, strict=False))

    @classmethod
    def failed(cls, scan: Scan, error: DataError) -> Examined:
        """Return the result for a scan that has no entry because of `error`."""
        problems = error.problems or (Problem(scan.id, str(error), kind="unreadable-file"),)
        marked = (replace(p, scans=(scan.id,) if p.severity == "error" else ()) for p in problems)
        return cls(scan, None, tuple(marked))

    @property
    def errors(self) -> tuple[Problem, ...]:
        """The findings that keep the scan from being used."""
        return tuple(problem for problem in self.problems if problem.severity == "error")


def warnings_of(scan: Scan, convention: Convention, settings: PrepareSettings) -> list[Problem]:
    """Read the files of a scan, and return what is to be told of them; nothing is stored.

    `convention` is the cohort's.

    Raises:
        DataError: lists all errors of the files.
    """
    meaning = scan.meaning(convention)
    *_, record = read_scan(scan, meaning, settings)
    findings = [Problem.from_dict(raw) for raw in record["findings"]]
    if scan.label is not None:
        findings += check_extent(scan, record, settings, meaning)
    if errors := [problem for problem in findings if problem.severity == "error"]:
        raise DataError.of(errors)
    return findings


def guessed_meaning(cohort: Cohort, examined: Sequence[Examined]) -> list[Problem]:
    """Return the findings about guessed meanings of integers, with the voxel count of each."""
    convention = cohort.convention
    counts = (i.voxels for i in examined if i.voxels and i.scan.meaning(convention) is convention)
    voxels = map(sum, zip(*counts, strict=True))
    meanings = [
        f"{convention.values[code]} -> {convention.name(code)} ({number} voxels)"
        for code, number in enumerate(voxels)
        if number
    ]
    guesses = [problem for problem in cohort.problems if problem.kind == GUESSED]
    return [replace(p, found=f"{p.found}: {', '.join(meanings) or 'no voxels'}") for p in guesses]


def without_window(
    cohort: Cohort, examined: Sequence[Examined], settings: PrepareSettings
) -> list[Problem]:
    """Return the warning, if due, that CTs are not prepared with one window for all scans."""
    found = [e.scan for e in examined if e.hounsfield or is_called_ct(e.scan, cohort)]
    several = len(cohort.modalities) > 1  # one window does not fit images of several kinds
    if settings.window is not None or several or 2 * len(found) <= len(examined):
        return []
    low, high = SOFT_TISSUE
    setting = "store.window=[LOW,HIGH]' in the units of the images"
    if all(item.hounsfield for item in examined):
        setting = f"store.window=[{low:g},{high:g}]' (Hounsfield units, soft tissue of an abdomen)"
    return [
        warning(
            f"cohort '{cohort.name}'",
            f"{len(found)} of {len(examined)} scans are CTs, and store.normalise="
            f"{settings.normalise} scales each by its own brightness: metal, or what a scanner "
            "fills in around its field of view, changes that of all tissue",
            "one window for all scans",
            f"set 'store.normalise=window' '{setting}, or another window; a training with "
            "plan=always sets both by what is labelled",
            "ct-brightness",
        )
    ]


def entries_of(cohort: Cohort, examined: Sequence[Examined]) -> list[StoreEntry]:
    """Return the entries of examined scans.

    Raises:
        DataError: some scans have no entry; lists all problems of each.
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


def _current_path(where: str, paths: Sequence[Path]) -> str:
    """Return the path that shares most trailing parts with `where`, or `where` if ambiguous."""

    def common_parts(path: Path) -> int:
        pairs = zip(reversed(path.parts), reversed(Path(where).parts), strict=False)
        return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs))

    scores = sorted((common_parts(path) for path in paths), reverse=True)
    if not scores or not scores[0] or scores[0] in scores[1:]:
        return where
    return str(max(paths, key=common_parts))
