"""Scans with the paths of their files, and cohorts of scans."""

import re
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from neoseg.findings.problems import CohortError, Problem
from neoseg.labels import Convention, LabelSet, Protocol
from neoseg.labels.convention import unnamed, with_background

TERM_AGE = 37.0
"""Post-menstrual age in weeks from which a scan (or birth) counts as term."""

_CT = re.compile(r"(?:ce|nc|cb|ld)?cta?|computed tomography", re.IGNORECASE)
"""Whole names only: "CT1" is a contrast-enhanced MRI."""

_SCAN = re.compile(r"(.+?)_(?:ses-(.+)|((?:run|acq|rec|echo|dir|ce)-.+))")
"""A subject and BIDS entities of a scan in one name, without `sub-`."""


@dataclass(frozen=True)
class Scan:
    """One session of one subject. Ids are strings without `sub-` and `ses-`; ages are in weeks.

    `images` holds one path per modality of the cohort, None if the scan lacks it (never the first).
    `label` is None if the scan is not annotated at all. `not_drawn` are leaves that its label file
    leaves to the background. `split` is "train", "val" or "test" if the cohort's own table defines
    it. `annotation` is the protocol that the user names for the scan, None if it is drawn.
    `own_convention` is the meaning of integers that the label file itself states, if it does.
    `listed` are the integers of its own table of names, None if there is none or it lists all.
    `computed` says that its data set calls the first image a CT.
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
    own_convention: Convention | None = None
    listed: frozenset[int] | None = None
    computed: bool = False

    def __post_init__(self) -> None:
        require_plain_name(self.subject, "the subject id")
        if self.session is not None:
            require_plain_name(self.session, "the session id")

    @property
    def id(self) -> str:
        """`sub-X_ses-Y`, or `sub-X` without a session."""
        return scan_id(self.subject, self.session)

    @property
    def described(self) -> Protocol | None:
        """The protocol that describes the scan's label file, or None."""
        return self.annotation if self.annotation and self.annotation.describes else None

    def meaning(self, convention: Convention) -> Convention:
        """Return the convention of the scan's label file; by default, that of the cohort."""
        described = self.annotation and self.annotation.convention
        return described or self.own_convention or convention

    def undrawn(self, convention: Convention) -> LabelSet:
        """Return the leaves that may be in the background of the scan's label file.

        They were not drawn in this scan, or no integer of the file stands for them.
        """
        return self.not_drawn | unnamed(convention.space, self._file_sets(convention))

    def sets(
        self, convention: Convention, protocol: Protocol | None = None
    ) -> tuple[LabelSet, ...]:
        """Return the label set of each value of `meaning` in this scan, under a protocol if any."""
        sets = self._file_sets(convention)
        shown = sets if protocol is None else tuple(map(protocol.apply, sets))
        return with_background(convention.space, shown, self.undrawn(convention))

    def _file_sets(self, convention: Convention) -> tuple[LabelSet, ...]:
        sets = self.meaning(convention).sets
        return tuple(map(self.described.apply, sets)) if self.described else sets

    @property
    def age_group(self) -> str:
        """ "preterm" or "term" by the age at the scan, "unknown" without an age."""
        if self.scan_age is None:
            return "unknown"
        return "preterm" if self.scan_age < TERM_AGE else "term"


@dataclass(frozen=True)
class Cohort:
    """Scans (sorted by subject and session) that share a label convention and modalities.

    `problems` are those that did not stop the reader: warnings, and with `on_error` "skip" or
    "collect" also errors. `voxel_size` (mm, canonical axes) is the size to which the scans are
    resampled, None if it is not set.
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
        """The problems as text."""
        return tuple(map(str, self.problems))

    @property
    def subjects(self) -> tuple[str, ...]:
        """Sorted ids of the subjects."""
        return tuple(sorted({scan.subject for scan in self.scans}))


def names_ct(name: str) -> bool:
    """Return whether the name of an image, such as "CT" or "cta", is one of a CT."""
    return _CT.fullmatch(name.strip()) is not None


def scan_id(subject: str, session: str | None) -> str:
    """Return `sub-X_ses-Y`, or `sub-X` without a session."""
    return f"sub-{subject}" + (f"_ses-{session}" if session else "")


def bare_id(text: str, prefix: str) -> str:
    """Strip whitespace and an optional prefix, `sub-` or `ses-`, from an id."""
    return text.strip().removeprefix(prefix)


def person_of(subject: str) -> str:
    """Return a subject id for comparison across cohorts.

    Without leading zeros, which spreadsheets drop and exports add.
    """
    return re.sub(r"(?<![\d.])0+(?=\d)", "", subject.casefold().removeprefix("sub-"))


def ids_in(name: str) -> tuple[str, str | None]:
    """Return subject and session in a name such as `sub-01_ses-2`, the session None without one.

    Scans of one person in different parts of a split would be a leak, so a name that tells session,
    run or acquisition (`sub-01_run-2`) must not become the id of a person.
    """
    bare = bare_id(name, "sub-")
    match = _SCAN.fullmatch(bare)
    return (bare, None) if match is None else (match[1], match[2] or match[3])


def id_in(text: str, known: Collection[str]) -> str:
    """Return the id of a subject or scan in a cohort that matches one written by a user.

    Readers that name subjects after files keep only the letters and digits (`case_01` becomes
    case01), while tables may contain the file names.
    """
    name = bare_id(text, "sub-")
    candidates = [name, *(re.sub("[-_. ]", "", spelling) for spelling in (name, text))]
    return next((candidate for candidate in candidates if candidate in known), name)


def require_plain_name(name: str, what: str) -> None:
    """Raise `CohortError` for a name that is not a plain path component."""
    if not isinstance(name, str):
        raise CohortError(f"{what} is {name!r} of type {type(name).__name__}, expected text")
    if name.strip(". ") == "" or set("/\\\0") & set(name):
        raise CohortError(
            f"{what} is {name!r}; it names files and folders, so it must have letters or digits "
            "and no slash"
        )
