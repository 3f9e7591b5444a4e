"""Data leaks: one person in two parts of the data, detected by subject id or image content."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Literal

from neoseg.cohort import Plan, Scan
from neoseg.cohort.scan import person_of
from neoseg.cohort.split import SPLITS
from neoseg.store.damage import DataError
from neoseg.store.signature import copies

log = logging.getLogger(__name__)

Leaks = Literal["stop", "namesakes", "tell"]
"""How to treat one person in two parts: an error; an error only if images match, as equal ids in
two cohorts may belong to different people; or a log message.
"""


MAX_LISTED = 20
"""Largest number of leaks listed in a message."""


@dataclass(frozen=True)
class Member:
    """A scan and the part of the data that it belongs to, such as "train".

    `digest` and `signature` are those of `Examined`, "" if only ids are compared.
    """

    scan: Scan
    part: str
    digest: str = ""
    signature: str = ""

    @property
    def person(self) -> str:
        """The subject id, normalised for comparison across cohorts."""
        return person_of(self.scan.subject)

    def is_person_of(self, other: Member) -> bool:
        """Whether the ids are those of one person: within a cohort, zeros make a difference."""
        inside = {self.part, other.part} <= {*SPLITS} and self.scan.cohort == other.scan.cohort
        mine, theirs = self.scan.subject.casefold(), other.scan.subject.casefold()
        return mine == theirs if inside else self.person == other.person

    def __str__(self) -> str:
        return f"{self.scan.cohort}/{self.scan.id}"


@dataclass(frozen=True)
class Leak:
    """Two scans of one person in different parts; `how` says by what they were matched."""

    first: Member
    other: Member
    how: str

    def __str__(self) -> str:
        first, other = self.first, self.other
        return (
            f"{other.scan.images[0] or other} is for {other.part} and {self.how} "
            f"{first.scan.images[0] or first}, which is for {first.part}"
        )


def members_of(plan: Plan) -> list[Member]:
    """Return the scans that a plan uses, without digests and signatures."""
    return [
        Member(scan, split)
        for source in plan.sources
        for split in SPLITS
        for scan, _ in source.of_split(split)
    ]


def by_name(members: Sequence[Member]) -> Iterator[Leak]:
    """Yield a leak for each further part in which a subject id occurs, across all cohorts."""
    people: dict[str, list[Member]] = {}
    for member in members:
        people.setdefault(member.person, []).append(member)
    for scans in people.values():
        told = {scans[0].part}
        for number, other in enumerate(scans):
            if other.part in told:
                continue
            first = next((s for s in scans[:number] if other.is_person_of(s)), None)
            if first is not None:
                told.add(other.part)
                yield Leak(first, other, "has the subject id of")


def by_image(members: Sequence[Member]) -> Iterator[Leak]:
    """Yield each pair of images in different parts that have the same content."""
    comparable = [member for member in members if member.signature]
    for i, j in copies([member.signature for member in comparable]):
        first, other = comparable[i], comparable[j]
        if first.part != other.part:
            exact = first.digest == other.digest
            changed = "shows the same, scaled, resampled or mirrored, as"
            how = "shows the same voxels as" if exact else changed
            yield Leak(first, other, how)


def warn_of_twins(members: Sequence[Member]) -> None:
    """Log each pair of scans that show the same although their ids are those of two people."""
    for pair in by_image([replace(member, part=member.person) for member in members]):
        log.warning(
            "%s and %s show the same image, and count as two people", pair.first, pair.other
        )


@contextmanager
def told_once() -> Iterator[None]:
    """Leave out warnings that repeat one of the block, as several stages prepare the same scans."""
    told = set[str]()

    def is_new(record: logging.LogRecord) -> bool:
        text = record.getMessage()
        new = text not in told
        told.add(text)
        return new

    log.addFilter(is_new)
    try:
        yield
    finally:
        log.removeFilter(is_new)


def require_none(found: Iterable[Leak], leaks: Leaks, remedy: str) -> None:
    """Require that no leak was found; log leaks as a warning if `leaks` is "tell".

    Raises:
        DataError: there are leaks; the message lists up to `MAX_LISTED` people, each once.
    """
    once: dict[object, Leak] = {}
    for leak in found:
        one, two = leak.first, leak.other
        once.setdefault((one.person, one.part, two.person, two.part), leak)
    lines = [f"  - {leak}" for leak in once.values()]
    if not lines:
        return
    remainder = [f"  and {len(lines) - MAX_LISTED} more"] if len(lines) > MAX_LISTED else []
    text = "\n".join(["one person in two parts of the data:", *lines[:MAX_LISTED], *remainder])
    if leaks != "tell":
        raise DataError(f"{text}\n{remedy}")
    log.warning("%s", text)
