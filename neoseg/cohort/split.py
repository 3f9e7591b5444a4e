"""Divide a cohort by subject into training, validation and test."""

import hashlib
import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import Field, field_validator

from neoseg.cohort.scan import Cohort, Scan, id_in
from neoseg.cohort.table import read_rows, write_rows
from neoseg.findings.problems import CohortError, Problem, Problems, shorten
from neoseg.findings.settings import Section

log = logging.getLogger(__name__)

SPLITS = ("train", "val", "test")
COLUMNS = ("cohort", "subject", "session", "split", "age_group")


class SplitSettings(Section):
    """Settings of `conf/split/*.yaml`: a table to read, or how to draw a split.

    `subset` allows the table to name subjects that the cohort lacks; `others` is the part of the
    subjects that the table lacks.
    """

    file: Path | None = None
    subset: bool = False
    others: Literal["train", "val", "test"] | None = None
    fractions: tuple[float, float, float] = (0.8, 0.1, 0.1)
    seed: int = Field(default=0, ge=0)

    @field_validator("fractions")
    @classmethod
    def _sum_to_one(cls, fractions: tuple[float, ...]) -> tuple[float, ...]:
        if min(fractions) < 0 or abs(sum(fractions) - 1) > 1e-6:
            raise ValueError(
                f"train, val and test are {fractions}, which add up to {sum(fractions):g}; they "
                "must be at least 0 and add up to 1"
            )
        return fractions


@dataclass(frozen=True)
class Split:
    """Sorted subject ids of each part. No subject is in two parts."""

    train: tuple[str, ...]
    val: tuple[str, ...]
    test: tuple[str, ...]

    def __post_init__(self) -> None:
        subjects = [*self.train, *self.val, *self.test]
        twice = sorted({name for name in subjects if subjects.count(name) > 1})
        if twice:
            raise CohortError(
                "a subject must be in one split only:",
                [Problem("split", f"found {shorten(twice)}")],
            )

    def of(self, subject: str) -> str | None:
        """Return "train", "val", "test", or None for a subject in no part."""
        return next((name for name in SPLITS if subject in getattr(self, name)), None)

    def scans(self, scans: Iterable[Scan], name: str) -> tuple[Scan, ...]:
        """Return the scans of "train", "val" or "test"."""
        members = frozenset(getattr(self, name))
        return tuple(scan for scan in scans if scan.subject in members)


def split_of(cohort: Cohort, settings: SplitSettings) -> Split:
    """Split a cohort; a split table may name subjects whose scans were skipped for errors."""
    if any(problem.severity == "error" for problem in cohort.problems):
        settings = settings.model_copy(update={"subset": True})
    return split_cohort(cohort.scans, settings)


def split_cohort(scans: Sequence[Scan], settings: SplitSettings) -> Split:
    """Return the split from the settings' table, else from the scans, else a drawn one.

    Raises:
        CohortError: as `read_split` and `make_split`.
    """
    if settings.file is not None:
        return read_split(settings.file, scans, settings.subset, settings.others)
    part_of = {scan.subject: scan.split for scan in scans if scan.split is not None}
    if part_of:
        log.info("the split is that of the cohort's own table")
        return Split(*(tuple(sorted(s for s in part_of if part_of[s] == name)) for name in SPLITS))
    return make_split(scans, settings.fractions, settings.seed)


def make_split(
    scans: Sequence[Scan], fractions: Sequence[float] = (0.8, 0.1, 0.1), seed: int = 0
) -> Split:
    """Draw a split by subject, stratified by age group.

    The split depends on the subjects, their age groups and `seed`, not on the order of the scans. A
    fraction of 0 gives an empty part; every other part gets at least one subject.

    Raises:
        CohortError: there are fewer subjects than parts.
    """
    strata = subject_strata(scans)
    parts = sum(fraction > 0 for fraction in fractions)
    if len(strata) < parts:
        problem = Problem(
            "fractions",
            f"ask for {parts} parts, and the cohort has {len(strata)} subjects",
            "at least one subject for each part",
            "add subjects, or set the fraction of a part to 0",
        )
        raise CohortError("the cohort cannot be split:", [problem])

    totals = _totals(len(strata), fractions)
    order = [
        subject
        for stratum in sorted(set(strata.values()))
        for subject in shuffled((s for s, g in strata.items() if g == stratum), "split", seed)
    ]
    members: list[list[str]] = [[], [], []]
    for position, subject in enumerate(order, start=1):
        # Choose the part furthest behind its share of the subjects so far; as subjects come
        # stratum by stratum, each stratum is divided in nearly the same proportions.
        open_parts = [i for i in range(3) if len(members[i]) < totals[i]]
        behind = [totals[i] * position / len(order) - len(members[i]) for i in open_parts]
        members[open_parts[behind.index(max(behind))]].append(subject)
    return Split(*(tuple(sorted(part)) for part in members))


def subject_strata(scans: Iterable[Scan]) -> dict[str, str]:
    """Return the age group of each subject, "both" for subjects with preterm and term scans."""
    groups: dict[str, set[str]] = {}
    for scan in scans:
        groups.setdefault(scan.subject, set()).add(scan.age_group)
    strata = {}
    for subject, age_groups in groups.items():
        known = age_groups - {"unknown"}
        strata[subject] = "both" if len(known) > 1 else next(iter(known or age_groups))
    return strata


def _totals(number: int, fractions: Sequence[float]) -> list[int]:
    """Divide `number` subjects by largest remainder, at least one per non-zero fraction."""
    exact = [number * fraction for fraction in fractions]
    # Rounding guards against 0.1 * 30 = 3.0000000000000004 and the like.
    totals = [max(int(round(share, 6)), int(share > 0)) for share in exact]
    while sum(totals) != number:
        step = 1 if sum(totals) < number else -1
        adjustable = [i for i in range(3) if exact[i] > 0 and (step > 0 or totals[i] > 1)]
        gap = {i: round(step * (exact[i] - totals[i]), 6) for i in adjustable}
        # Ties go to the last part, as small cohorts tend to leave too few subjects for testing.
        totals[max(adjustable, key=lambda i: (gap[i], i))] += step
    return totals


def write_splits(path: Path, parts: Iterable[tuple[Split, Iterable[Scan]]]) -> None:
    """Write the splits of several cohorts, each with its scans, to one table."""
    rows = [
        (scan.cohort, scan.subject, scan.session, name, scan.age_group)
        for split, scans in parts
        for scan in sorted(scans, key=lambda s: (s.subject, s.session or ""))
        if (name := split.of(scan.subject)) is not None
    ]
    write_rows(path, COLUMNS, rows)


def read_split(
    path: str | Path, scans: Sequence[Scan], subset: bool = False, others: str | None = None
) -> Split:
    """Read a table with the columns subject and split (train, val or test), per subject or scan.

    If a column `cohort` has several values, only the rows of the scans' cohort are used.

    Raises:
        CohortError: listing subjects in two splits, unknown split names, table subjects that the
            cohort lacks (unless `subset`), and cohort subjects that the table lacks (unless
            `others` gives their part).
    """
    path = Path(path).expanduser()
    problems = Problems()
    splits_of: dict[str, set[str]] = {}
    listed, present = set[str](), {scan.subject for scan in scans}
    for number, row in _own_rows(read_rows(path, ["subject", "split"], problems), scans):
        subject, name = id_in(row["subject"], present), row["split"].casefold()
        listed.add(subject)
        if name not in SPLITS:
            problems.error(f"{path} row {number}", f"found split {row['split']!r}", str(SPLITS))
        elif subject:
            splits_of.setdefault(subject, set()).add(name)
    unlisted = present - listed
    if others is not None and not problems.errors:
        splits_of |= {subject: {others} for subject in unlisted}
        if unlisted:
            log.info("%s lacks %d subjects, who are for %s", path, len(unlisted), others)
        unlisted = set()
    _check_subjects(path, splits_of, present, subset, problems, unlisted)
    problems.settle(f"split '{path}'")
    return Split(*(tuple(sorted(s for s in present if name in splits_of[s])) for name in SPLITS))


def _own_rows(
    rows: Sequence[dict[str, str]], scans: Sequence[Scan]
) -> list[tuple[int, dict[str, str]]]:
    """Return the rows of the scans' cohort with row numbers; all rows if there is one cohort."""
    cohorts = {scan.cohort for scan in scans}
    several = len({row.get("cohort", "") for row in rows}) > 1
    numbered = enumerate(rows, start=2)
    return [(n, row) for n, row in numbered if not several or row["cohort"] in cohorts]


def _check_subjects(
    path: Path,
    chosen: Mapping[str, set[str]],
    present: set[str],
    subset: bool,
    problems: Problems,
    unlisted: set[str],
) -> None:
    for subject, names in sorted(chosen.items()):
        if len(names) > 1:
            problems.error(
                path, f"puts subject {subject} in {' and '.join(sorted(names))}", "one split"
            )
    if problems.errors and not chosen:
        return
    absent = sorted(set(chosen) - present)
    if absent and not subset:
        problems.error(
            path,
            f"names {len(absent)} subjects that the cohort does not have: {shorten(absent)}",
            f"ids such as {shorten(sorted(present), 3)}",
            action="correct the ids, or set split.subset=true if the cohort is a part",
        )
    if unlisted:
        problems.error(
            path,
            f"lacks {len(unlisted)} subjects of the cohort: {shorten(sorted(unlisted))}",
            action="add a row for each, set split.others=train (val, test) for all of them, or "
            "exclude them from the cohort",
        )


def shuffled(names: Iterable[str], *seed: int | str) -> list[str]:
    """Return the names, without duplicates, ordered by a hash of (seed, name).

    Unlike a random permutation, the order is the same in every library version and for any input
    order, and adding or removing a name does not change the order of the others.
    """
    prefix = ":".join(map(str, seed))

    def key(name: str) -> tuple[bytes, str]:
        return hashlib.sha256(f"{prefix}:{name}".encode()).digest(), name

    return sorted(set(names), key=key)
