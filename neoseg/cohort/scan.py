"""A scan, where its files lie, and a cohort of scans."""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from neoseg.findings.problems import CohortError, Problem
from neoseg.labels import Convention, LabelSet, Protocol

TERM_AGE = 37.0
"""Weeks of post-menstrual age from which a scan (or birth) counts as term."""


@dataclass(frozen=True)
class Scan:
    """One session of one subject. Ids are strings without `sub-` and `ses-`; ages are in weeks.

    `images` holds one path per modality of the cohort, None where this scan lacks it (never the
    first). `label` is None where the scan is not annotated at all. `not_drawn` are leaves that
    its label file leaves to the background, wherever they are. `split` is "train", "val" or "test"
    where the cohort's own table says so. `annotation` is the protocol that somebody named for it,
    None where it is drawn.
    """

    subject: str
    session: str | None
    images: tuple[Path | None, ...]
    label: Path | None
    mask: Path | None
    scan_age: float | None
    birth_age: float | None
    cohort: str
    not_drawn: LabelSet = frozenset()
    split: str | None = None
    annotation: Protocol | None = None

    def __post_init__(self) -> None:
        require_plain_name(self.subject, "the subject id")
        if self.session is not None:
            require_plain_name(self.session, "the session id")

    @property
    def id(self) -> str:
        """`sub-X_ses-Y`, or `sub-X` where there are no sessions."""
        return scan_id(self.subject, self.session)

    @property
    def described(self) -> Protocol | None:
        """The protocol that says what its label file tells, where there is one."""
        return self.annotation if self.annotation and self.annotation.describes else None

    def meaning(self, convention: Convention) -> Convention:
        """Return what the integers of its label file mean, by default the cohort's convention."""
        own = self.annotation and self.annotation.convention
        return own or convention

    def sets(self, convention: Convention) -> tuple[LabelSet, ...]:
        """Return what each value of `meaning` tells of this scan."""
        clear, values = convention.space.background, self.meaning(convention).sets
        known = (s | self.not_drawn if clear in s else s for s in values)
        return tuple(map(self.described.apply, known) if self.described else known)

    @property
    def age_group(self) -> str:
        """ "preterm" or "term" by the age at the scan, "unknown" without it."""
        if self.scan_age is None:
            return "unknown"
        return "preterm" if self.scan_age < TERM_AGE else "term"


@dataclass(frozen=True)
class Cohort:
    """Scans (sorted by subject and session) that share a label convention and modalities.

    `problems` are the findings that did not stop the reading: warnings, and where errors are to be
    skipped the errors about scans that were left out. `voxel_size` (mm, canonical axes) is that to
    which the scans are brought, where it has been settled.
    """

    name: str
    scans: tuple[Scan, ...]
    convention: Convention
    modalities: tuple[str, ...]
    problems: tuple[Problem, ...] = ()
    voxel_size: tuple[float, float, float] | None = None

    def __post_init__(self) -> None:
        require_plain_name(self.name, "cohort.name")

    @property
    def warnings(self) -> tuple[str, ...]:
        """The findings as text."""
        return tuple(map(str, self.problems))

    @property
    def subjects(self) -> tuple[str, ...]:
        """Sorted ids of the subjects."""
        return tuple(sorted({scan.subject for scan in self.scans}))


def scan_id(subject: str, session: str | None) -> str:
    """Return `sub-X_ses-Y`, or `sub-X` without a session."""
    return f"sub-{subject}" + (f"_ses-{session}" if session else "")


def bare_id(text: str, prefix: str) -> str:
    """Strip `sub-` or `ses-` from an id that may or may not carry it."""
    return text.strip().removeprefix(prefix)


def id_in(text: str, known: Collection[str]) -> str:
    """Return the id of a subject or scan that somebody wrote, as it is in a cohort.

    Readers that name subjects by files leave the letters and digits of their names (`case_01` is
    case01); tables may have the names of the files.
    """
    name = bare_id(text, "sub-")
    spoken = [name, *(re.sub("[-_. ]", "", one) for one in (name, text))]
    return next((one for one in spoken if one in known), name)


def require_plain_name(name: str, what: str) -> None:
    """Raise `CohortError` for a name that, as part of a path, would lead elsewhere."""
    if name.strip(". ") == "" or set("/\\\0") & set(name):
        raise CohortError(
            f"{what} is {name!r}; it names files and folders, so it must have letters or digits "
            "and no slash"
        )
